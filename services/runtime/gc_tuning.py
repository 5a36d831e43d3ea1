"""Python's search for garbage, out of the way of batches."""

import gc


def stop_looking_for_garbage() -> None:
    """Look seldom, and never again at what is loaded now.

    A batch makes hundred thousands of small objects that all live until COMMIT and hold no cycles. To look at them in
    between, and at every module and class each time, cost a fifth of the projector's time.
    """
    gc.freeze()
    gc.set_threshold(250_000, 20, 50)


def look_for_garbage_in_passing() -> None:
    """For a process that people wait for: look often and little, and not at what was made to last.

    Requests leave cycles behind. A hundred thousand objects searched at once stop everybody for a tenth of a second.
    That is as long as all else that the slowest hundredth of requests waits for. Two thousand are searched in one or
    two milliseconds.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(2_000, 20, 50)
