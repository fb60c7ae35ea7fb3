"""The `ip_adapter` object of a request as the references and settings that the models take."""

from __future__ import annotations

from models.interfaces import AdapterSettings, EncodedImage, Reference, ReferenceRole
from models.spec import PictureModelSpec
from serving.gateway.model_checks import check_references
from serving.gateway.problems import Problem, refuse
from serving.gateway.schemas.sampling import BLOCKS, IpAdapter, PictureSource


def adapter_settings(adapter: IpAdapter | None, mask: EncodedImage | None = None) -> AdapterSettings:
    """One weight is the adapter's scale; several weigh the references against a scale of 1. `mask`: the adapter's."""
    if adapter is None:
        return AdapterSettings()
    return AdapterSettings(
        scale=1.0 if isinstance(adapter.weight, list) else adapter.weight,
        blocks=BLOCKS[adapter.method],
        begin_step_percent=adapter.begin_step_percent,
        end_step_percent=adapter.end_step_percent,
        mask=mask,
    )


def check_adapter(spec: PictureModelSpec, adapter: IpAdapter | None, joined: int = 0) -> None:
    """Raises Problem 422. `joined`: images of the body that act as references beside the adapter's own."""
    if adapter is None:
        check_references(spec, joined, "image")
        return
    count = len(adapter.images) + joined
    if adapter.mask is not None and not spec.reference_mask:
        text = f"ip_adapter.mask: model {spec.name!r} cannot keep its references to a region; leave it out"
        raise Problem("unsupported", text, "ip_adapter.mask")
    if count == 0:
        refuse("ip_adapter.images", "ip_adapter.images: give at least one image")
    if isinstance(adapter.weight, list) and len(adapter.weight) != count:
        text = f"ip_adapter.weight: {len(adapter.weight)} weights for {count} images: give one weight, or one each"
        refuse("ip_adapter.weight", text)
    if isinstance(adapter.role, list) and len(adapter.role) != count:
        text = f"ip_adapter.role: {len(adapter.role)} roles for {count} images: give one role, or one each"
        refuse("ip_adapter.role", text)
    check_references(spec, count, "ip_adapter.images")


def sources(adapter: IpAdapter | None) -> list[tuple[str, PictureSource]]:
    """The adapter's own images with the names of their fields."""
    images = adapter.images if adapter else []
    return [(f"ip_adapter.images.{index}", image) for index, image in enumerate(images)]


def weights(adapter: IpAdapter | None, count: int) -> list[float]:
    """Of `count` references, in order."""
    return adapter.weight if adapter and isinstance(adapter.weight, list) else [1.0] * count


def roles(adapter: IpAdapter | None, count: int) -> list[ReferenceRole]:
    """Of `count` references, in order."""
    role = adapter.role if adapter else "product"
    return role if isinstance(role, list) else [role] * count


def references(adapter: IpAdapter | None, images: list[EncodedImage]) -> tuple[Reference, ...]:
    count = len(images)
    return tuple(
        Reference(image=image, role=role, weight=weight)
        for image, role, weight in zip(images, roles(adapter, count), weights(adapter, count), strict=True)
    )
