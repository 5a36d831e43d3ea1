"""What the stand-in keeps books of, one module for each kind of object, with what may be asked of it."""
