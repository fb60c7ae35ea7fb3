"""From a run's files to what ships: `python -m models.sketch.training.release RUN_FOLDER [--weights FOLDER]`.

Writes the folders in the layout that the engines load, tensors as float16, each with its manifest, which is what makes
weights count. What several models share is stored once: the video model names the image model's folder as its own, and
parts of other folders are put together at first use, as `SHARED` says. The chat model comes from the folder that
`chat.llm` exports: `--names llm llm_text`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import CLIPVisionModelWithProjection, Dinov2Model
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from models.manifest import MANIFEST, write_manifest
from models.sketch.assembly import ASSEMBLY, AssembledFile, Assembly, FileCopy, TensorFile, TensorSelection, assemble
from models.sketch.training import diffusion, networks
from models.sketch.training.networks import FULL, TINY, Sizes
from models.sketch.training.words import load_tokenizer
from models.weights import EMBEDDED

WEIGHTS = Path(__file__).resolve().parents[1] / "weights"
VERSION = "0.1.0"
Colour = tuple[float, float, float]
MIDDLE = (0.5, 0.5, 0.5)
IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
State = dict[str, torch.Tensor]


def image_processor(mean: Colour = MIDDLE, deviation: Colour = MIDDLE) -> CLIPImageProcessorPil:
    """Squeezes any aspect to the tower's square, so that nothing is cropped away."""
    size = {"height": networks.SIDE, "width": networks.SIDE}
    return CLIPImageProcessorPil(size=size, do_center_crop=False, resample=2, image_mean=mean, image_std=deviation)


def _read(run: Path, name: str, prefix: str = "") -> State:
    whole = load_file(run / f"{name}.safetensors")
    return {k.removeprefix(prefix): v.float() for k, v in whole.items() if k.startswith(prefix)}


def _filled(model: Any, state: State) -> Any:
    missing, unexpected = model.load_state_dict(state, strict=False)
    wrong = [k for k in missing if "position_ids" not in k] + list(unexpected)
    if wrong:
        raise ValueError(f"{type(model).__name__}: these weights do not fit: {wrong[:5]}")
    return model.eval()


def _without_blanks(file: Path) -> None:
    """Write a JSON file anew in less than half of its bytes."""
    file.write_text(json.dumps(json.loads(file.read_text()), ensure_ascii=False, separators=(",", ":")))


def image(run: Path, folder: Path, sizes: Sizes) -> None:
    """The Stable Diffusion folder, which the video model takes too."""
    tokenizer = load_tokenizer()
    pipe = StableDiffusionPipeline(
        vae=_filled(networks.autoencoder(sizes), _read(run, "vae")),
        text_encoder=_filled(networks.text_encoder(tokenizer, sizes), _read(run, "text_clip", "text.")),
        tokenizer=tokenizer,
        unet=_filled(networks.image_unet(sizes), _read(run, "unet")),
        scheduler=diffusion.scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.save_pretrained(folder, safe_serialization=True)
    _without_blanks(folder / "tokenizer" / "tokenizer.json")
    image_processor().save_pretrained(folder / "feature_extractor")
    index = json.loads((folder / "model_index.json").read_text())
    index["feature_extractor"] = ["transformers", "CLIPImageProcessor"]
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")


def clip(run: Path, folder: Path, sizes: Sizes) -> None:
    tokenizer = load_tokenizer()
    model = _filled(networks.clip(tokenizer, sizes), _read(run, "text_clip", "clip."))
    model.save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)
    _without_blanks(folder / "tokenizer.json")
    image_processor().save_pretrained(folder)


def ip_adapter(run: Path, folder: Path, sizes: Sizes) -> None:
    folder.mkdir(parents=True)
    save_file(load_file(run / "ip_adapter.safetensors"), folder / "ip-adapter.safetensors")
    model = networks.clip(load_tokenizer(), sizes)
    _filled(model, _read(run, "text_clip", "clip."))
    encoder = CLIPVisionModelWithProjection(networks.vision_config(sizes))
    encoder.vision_model.load_state_dict(model.vision_model.state_dict())
    encoder.visual_projection.load_state_dict(model.visual_projection.state_dict())
    encoder.save_pretrained(folder / "image_encoder", safe_serialization=True)
    image_processor().save_pretrained(folder / "image_encoder")


def motion(run: Path, folder: Path, sizes: Sizes) -> None:
    _filled(networks.motion_adapter(sizes), _read(run, "motion")).save_pretrained(folder, safe_serialization=True)


def observer(run: Path, folder: Path, sizes: Sizes) -> None:
    """Through the stock loader, which knows the names that other versions of transformers gave to the layers.

    It learnt from pictures in -1 to 1. What the published DINOv2 takes, mean and deviation of ImageNet, is put into its
    first layer, so that one preprocessing serves both.
    """
    with tempfile.TemporaryDirectory() as temporary:
        networks.observer_tower(sizes).config.save_pretrained(temporary)
        save_file(_read(run, "observer"), Path(temporary) / "model.safetensors", {"format": "pt"})
        model, found = Dinov2Model.from_pretrained(temporary, output_loading_info=True)
    first = model.embeddings.patch_embeddings.projection
    with torch.no_grad():
        mean, deviation = (torch.tensor(each).view(1, 3, 1, 1) for each in (IMAGENET_MEAN, IMAGENET_DEVIATION))
        first.bias += (first.weight * (2 * mean - 1)).sum((1, 2, 3))
        first.weight *= 2 * deviation
    if wrong := [*found["missing_keys"], *found["unexpected_keys"]]:
        raise ValueError(f"Dinov2Model: these weights do not fit: {wrong[:5]}")
    model.save_pretrained(folder, safe_serialization=True)
    image_processor(IMAGENET_MEAN, IMAGENET_DEVIATION).save_pretrained(folder)


def llm(run: Path, folder: Path, sizes: Sizes) -> None:
    """The chat model with the vision tower that it was trained with, which CLIP's next one must not replace."""
    shutil.copytree(run / "llm", folder)


def llm_text(run: Path, folder: Path, sizes: Sizes) -> None:
    shutil.copytree(run / "llm_text", folder)


MAKERS = {
    "image": image,
    "motion": motion,
    "clip": clip,
    "ip_adapter": ip_adapter,
    "observer": observer,
    "llm": llm,
    "llm_text": llm_text,
}
PICTURES = ("image", "motion", "clip", "ip_adapter", "observer")
"""Released unless other names are given; what takes parts of another comes after it."""

SHARED: dict[str, dict[str, AssembledFile]] = {
    "clip": {
        "model.safetensors": TensorFile(
            parts=(
                TensorSelection(source="clip/vision.safetensors"),
                TensorSelection(source="image/text_encoder/model.safetensors", becomes="text_model."),
            )
        ),
        "tokenizer.json": FileCopy(source="image/tokenizer/tokenizer.json"),
    },
    "ip_adapter": {
        "image_encoder/model.safetensors": TensorFile(
            parts=tuple(
                TensorSelection(source="clip/vision.safetensors", prefix=prefix, becomes=prefix)
                for prefix in ("vision_model.", "visual_projection.")
            )
        )
    },
    "llm_text": {
        "model.safetensors": TensorFile(
            parts=(TensorSelection(source="llm/model.safetensors", prefix="language_model."),)
        ),
        **{
            name: FileCopy(source=f"llm/{name}")
            for name in ("chat_template.jinja", "generation_config.json", "tokenizer.json", "tokenizer_config.json")
        },
    },
}
"""By the model's folder, the files that are put together from what others store, and from the rest that it stores."""


def halve(path: Path) -> None:
    """Rewrite a safetensors file with float16 in place of float32."""
    with safe_open(path, "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118, not a dict
        metadata = file.metadata()
    small = {k: (v.half() if v.dtype == torch.float32 else v).contiguous() for k, v in tensors.items()}
    path.unlink()
    save_file(small, path, metadata)


def release(name: str, run: Path, weights: Path, sizes: Sizes) -> int:
    """Write one model's folder, replacing what was there; returns its size in bytes."""
    folder, new = weights / name, weights / f"{name}.new"
    shutil.rmtree(new, ignore_errors=True)
    MAKERS[name](run, new, sizes)  # beside the old one, whose tokenizer it may read
    shutil.rmtree(folder, ignore_errors=True)
    new.rename(folder)
    files = [path for path in folder.rglob("*") if path.is_file()]
    for path in files:
        if path.suffix == ".safetensors":
            halve(path)
        path.chmod(0o644)
    if name in SHARED:
        share(name, folder)
    else:
        write_manifest(folder, f"{EMBEDDED}{name}", VERSION)
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def share(name: str, folder: Path) -> None:
    """Remove what other folders store from a complete one; its manifest lists it all the same.

    Raises ValueError when what is put together from the others is not what was there.
    """
    recipes = SHARED[name]
    listed = tuple(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    made = {shared: _contents(folder / shared) for shared in recipes}
    for shared, recipe in recipes.items():
        if isinstance(recipe, TensorFile):
            _store_rest(name, folder, load_file(folder / shared), recipe)
        (folder / shared).unlink()
    (folder / ASSEMBLY).write_bytes(Assembly.dump_json(recipes, indent=1) + b"\n")
    with tempfile.TemporaryDirectory() as temporary:
        whole = Path(temporary) / name
        assemble(folder, listed, whole)
        for shared, contents in made.items():
            if _contents(whole / shared) != contents:
                raise ValueError(f"{name}/{shared} is not what {recipes[shared]} gives")
        write_manifest(whole, f"{EMBEDDED}{name}", VERSION)
        shutil.copyfile(whole / MANIFEST, folder / MANIFEST)


def _store_rest(name: str, folder: Path, tensors: State, recipe: TensorFile) -> None:
    """Store the tensors that no other folder has, where the recipe expects them."""
    elsewhere = tuple(part.becomes for part in recipe.parts if not part.source.startswith(f"{name}/"))
    for part in recipe.parts:
        if part.source.startswith(f"{name}/"):
            rest = {key: tensor for key, tensor in tensors.items() if not key.startswith(elsewhere)}
            save_file(rest, folder / part.source.removeprefix(f"{name}/"), {"format": "pt"})


def _contents(path: Path) -> bytes | dict[str, bytes]:
    """What must agree: tensors whatever their order in the file, or the file's bytes."""
    if path.suffix != ".safetensors":
        return path.read_bytes()
    return {name: tensor.numpy().tobytes() for name, tensor in load_file(path).items()}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m models.sketch.training.release")
    parser.add_argument("run", type=Path)
    parser.add_argument("--names", nargs="+", choices=tuple(MAKERS), default=PICTURES)
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--tiny", action="store_true", help="the run was a rehearsal")
    args = parser.parse_args()
    for name in args.names:
        size = release(name, args.run, args.weights, TINY if args.tiny else FULL)
        print(name, f"{size / 2**20:.1f} MiB", flush=True)


if __name__ == "__main__":
    main()
