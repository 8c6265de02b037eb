"""What the API's own document says of its routes, and how each is called with an example."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from billing.web.api.document import Api

SCOPES = ("read", "write", "refund", "setup")


@dataclass(frozen=True)
class Route:
    """One verb at one address."""

    verb: str
    path: str
    operation: Mapping[str, Any]
    document: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.verb} {self.path}"

    @property
    def scope(self) -> str:
        """The one scope it declares."""
        [declared] = self.operation["security"]
        [scope] = declared["key"]
        return str(scope)

    @property
    def names(self) -> list[str]:
        """What its address names."""
        return [each["name"] for each in self.operation.get("parameters", ()) if each["in"] == "path"]

    @property
    def needs_key(self) -> bool:
        """Whether it cannot be called without an idempotency key."""
        given = self.operation.get("parameters", ())
        return any(each["name"] == "Idempotency-Key" and each["required"] for each in given)

    @property
    def example(self) -> Any:
        """A body as the document shows it, or nothing where it takes none."""
        if "requestBody" not in self.operation:
            return None
        return self.schema(self.operation["requestBody"]["content"]["application/json"]["schema"])["examples"][0]

    def schema(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        """Follow a reference to what it names."""
        name = schema.get("$ref", "").rpartition("/")[2]
        return self.document["components"]["schemas"][name] if name else schema

    def at(self, **names: Any) -> str:
        """Return its address with these names in it; each that it wants must be given."""
        return self.path.format_map(names)


def routes(api: Api) -> list[Route]:
    """Return every route, as the document tells it."""
    document = api.openapi()
    return [
        Route(verb.upper(), path, operation, document)
        for path, verbs in document["paths"].items()
        for verb, operation in verbs.items()
    ]
