"""Python's search for garbage, out of the way of batches."""

import gc


def stop_looking_for_garbage() -> None:
    """Look seldom, and never again at what is loaded now.

    A batch makes hundred thousands of small objects that all live until COMMIT and hold no cycles: to look at them in between,
    and at every module and class each time, cost a fifth of the projector's time.
    """
    gc.freeze()
    gc.set_threshold(1_000_000, 20, 50)
