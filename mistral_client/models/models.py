"""`GET /v1/models`, `GET /v1/models/{id}` and `DELETE /v1/models/{id}`."""

from __future__ import annotations

from pydantic import Field

from .common import Answer, WireModel


class ModelPermission(WireModel):
    """Part of the model cards of early 2024; servers of today send none."""

    id: str
    object: str = "model_permission"
    created: int = 0
    allow_create_engine: bool = False
    allow_sampling: bool = True
    allow_logprobs: bool = True
    allow_search_indices: bool = False
    allow_view: bool = True
    allow_fine_tuning: bool = False
    organization: str = "*"
    group: str | None = None
    is_blocking: bool = False


class ModelCard(WireModel):
    """One model. Cards of early 2024 have root, parent and permission; those of today have capabilities,
    max_context_length (tokens), aliases and more, all of which are kept as attributes.
    """

    id: str
    object: str = "model"
    created: int | None = None
    owned_by: str | None = None
    root: str | None = None
    parent: str | None = None
    permission: list[ModelPermission] = Field(default_factory=list)


class ModelList(Answer):
    """The models that a server offers."""

    object: str = "list"
    data: list[ModelCard]


class ModelDeleted(WireModel):
    """The answer to a deletion."""

    id: str
    object: str = "model"
    deleted: bool = True
