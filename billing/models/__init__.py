"""The tables; one file per noun group."""

from billing.models.base import metadata, new_row, table
from billing.models.catalog import Plan, Price, Subscription
from billing.models.customer import Customer, Profile, ProfileState
from billing.models.invoice import Invoice, InvoiceLine, Posting
from billing.models.merchant import AccountState, CatchUp, GatewayAccount, Merchant, NumberSeries, TestClock
from billing.models.payment import (
    Allocation,
    Attempt,
    ChargeRight,
    Checkout,
    Operation,
    OwedKind,
    PayLink,
    Verification,
    VerificationState,
)
from billing.models.traffic import (
    Decision,
    Message,
    MessageState,
    Notification,
    NotificationState,
    Run,
    RunState,
    Task,
    TaskState,
)

__all__ = [
    "AccountState",
    "Allocation",
    "Attempt",
    "CatchUp",
    "ChargeRight",
    "Checkout",
    "Customer",
    "Decision",
    "GatewayAccount",
    "Invoice",
    "InvoiceLine",
    "Merchant",
    "Message",
    "MessageState",
    "Notification",
    "NotificationState",
    "NumberSeries",
    "Operation",
    "OwedKind",
    "PayLink",
    "Plan",
    "Posting",
    "Price",
    "Profile",
    "ProfileState",
    "Run",
    "RunState",
    "Subscription",
    "Task",
    "TaskState",
    "TestClock",
    "Verification",
    "VerificationState",
    "metadata",
    "new_row",
    "table",
]
