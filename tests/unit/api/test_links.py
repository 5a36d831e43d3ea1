"""A browser is led to pages of Stripe's alone, whatever stands in a fact."""

import pytest

from services.api.wording.links import receipt_link


@pytest.mark.parametrize(
    "address",
    [
        "https://pay.stripe.com/receipts/payment/CAcaFwoVYWNjdF8xTTJKVGtMa2RJd0h1N2l4", "https://stripe.com/r/1",
        "http://127.0.0.1:4242/receipts/ch_1", "http://localhost:4242/receipts/ch_1",
    ],
)  # fmt: skip
def test_a_receipt_of_stripes_is_a_link(address: str) -> None:
    assert receipt_link(address) == address


@pytest.mark.parametrize(
    "address",
    [
        None, "", "receipts/1", "javascript:alert(1)", "JavaScript:alert(1)//https://pay.stripe.com/", "data:text/html,x",
        "http://pay.stripe.com/receipts/1", "https://pay.stripe.com.evil.example/", "https://evilstripe.com/",
        "https://pay.stripe.com@evil.example/", "https://user:word@pay.stripe.com/", "https://[", "https://pay.stripe.com\n/",
        "https://рay.stripe.com/", "http://10.0.0.1/receipts/1", "https://evil.example/?https://pay.stripe.com/",
    ],
)  # fmt: skip
def test_any_other_address_is_none(address: str | None) -> None:
    assert receipt_link(address) is None
