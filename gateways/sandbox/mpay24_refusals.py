"""A request that is well formed but cannot be done is refused with a code of reference section 4."""

from gateways.sandbox.mpay24_values import error_number


class RefusalError(Exception):
    """The operation answers status ERROR with this code; no transaction comes into being."""

    def __init__(self, code: str, err_text: str = "") -> None:
        super().__init__(code)
        self.code = code
        self.err_no = error_number(code)
        self.err_text = err_text or None


def not_entered(element: str) -> RefusalError:
    """Refuse a mandatory element that is missing or empty."""
    return RefusalError(f"{element.upper()}_NOT_ENTERED")


def not_correct(element: str) -> RefusalError:
    """Refuse an element whose value cannot be right."""
    return RefusalError(f"{element.upper()}_NOT_CORRECT")
