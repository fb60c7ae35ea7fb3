"""Stage 5: clips that begin at their keyframe (stock `UNetMotionModel` with PIA's nine input channels).

`python -m models.sketch.training.motion`. The nine channels are PIA's: noisy latents, a mask, a picture; but here
each frame is given the keyframe as the moved camera sees it, and the mask says where that is known (`world.follow`), so
the model paints what comes into view and keeps frames consistent. Starts as the image model plus an inert
`MotionAdapter`; image layers are trained along. The result is written in the stock parts that `PIAPipeline` takes:
a Stable Diffusion folder with its own UNet, and a `MotionAdapter`.
"""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import torch
from diffusers import MotionAdapter, UNet2DConditionModel, UNetMotionModel
from diffusers.models.attention_processor import AttnProcessor
from numpy.typing import NDArray
from torch.nn import functional as F
from transformers import CLIPTextModel, CLIPTokenizer

from models.sketch.training import data, diffusion, loop
from models.sketch.training.loop import EXPORTS, as_tensor
from models.sketch.training.thumbnail import encode
from models.sketch.training.tokenizer import load_tokenizer, token_ids
from models.sketch.training.unet import CHANNELS
from models.sketch.training.world import SceneSpec, caption, render_clip, sample_spec
from models.video.camera import followed

FRAMES = 16
DROP = 0.1
HARD_MOVES = ("static", "push_in", "pull_back", "pan_left", "pan_right")


def adapter() -> MotionAdapter:
    """A motion adapter of the image model's shape; its output layers start at zero."""
    return MotionAdapter(
        block_out_channels=CHANNELS,
        motion_layers_per_block=1,
        motion_num_attention_heads=4,
        motion_norm_num_groups=16,
        motion_max_seq_length=32,
        use_motion_mid_block=True,
        conv_in_channels=9,
    )


def network() -> UNetMotionModel:
    """The image model with motion modules; what the new inputs say counts for nothing at first."""
    unet = UNet2DConditionModel.from_pretrained(EXPORTS / "image/unet", dtype=torch.float32)
    model = UNetMotionModel.from_unet2d(unet, adapter())
    with torch.no_grad():
        model.conv_in.weight[:, 4:] = 0
    return model.train()


def parts(model: UNetMotionModel) -> tuple[UNet2DConditionModel, MotionAdapter]:
    """The trained model as the two stock parts."""
    state = model.state_dict()
    config = UNet2DConditionModel.load_config(EXPORTS / "image/unet")
    unet = UNet2DConditionModel.from_config(config)
    plain = {k: v for k, v in state.items() if "motion_modules" not in k}
    plain["conv_in.weight"] = plain["conv_in.weight"][:, :4]
    unet.load_state_dict(plain)
    motion = adapter()
    moving = {k: v for k, v in state.items() if "motion_modules" in k or k.startswith("conv_in.")}
    motion.load_state_dict(moving)
    return unet, motion


def clip_spec(rng: np.random.Generator, aspect: str) -> SceneSpec:
    """A scene whose move is mostly one of the five of the benchmark."""
    spec = replace(sample_spec(rng, "train", aspect), moment=0.0)
    return replace(spec, camera=str(rng.choice(HARD_MOVES))) if rng.random() < 0.6 else spec


class Batches:
    """Freshly rendered clips of one aspect, what each frame is told, and captions."""

    def __init__(self, seed: int, tokenizer: CLIPTokenizer, frames: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.tokenizer, self.frames = tokenizer, frames

    def next(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Latents b x 4 x frames x h x w, the five condition channels of the same size, token ids."""
        rng = self.rng
        aspect = data.bucket(rng)
        length = int(rng.choice((8, self.frames)))
        specs = [clip_spec(rng, aspect) for _ in range(max(1, self.frames // length))]
        clips = [render_clip(s, length) for s in specs]
        clean = torch.stack([encode(as_tensor(clip)).transpose(0, 1) for clip in clips])
        told = torch.stack([condition(clip[0], s.camera, length) for clip, s in zip(clips, specs, strict=True)])
        texts = ["" if rng.random() < DROP else caption(s, rng, clip=rng.random() < 0.7) for s in specs]
        return clean, told, token_ids(self.tokenizer, texts, full=True)


def condition(keyframe: NDArray[np.uint8], camera: str, num_frames: int) -> torch.Tensor:
    """PIA's five channels for one clip: where the moved keyframe is known, and its latents; 5 x frames x h x w."""
    frames, known = followed(keyframe, camera, num_frames)
    mask = F.avg_pool2d(torch.from_numpy(known)[:, None], 4)
    return torch.cat([mask, encode(as_tensor(frames)) * mask], dim=1).transpose(0, 1)


def export(model: UNetMotionModel) -> None:
    """A Stable Diffusion folder of its own for the trained image layers, and the motion adapter."""
    unet, motion = parts(model)
    unet.half().save_pretrained(EXPORTS / "video/unet", safe_serialization=True)
    for name in ("vae", "text_encoder", "tokenizer", "scheduler", "feature_extractor"):
        shutil.copytree(EXPORTS / "image" / name, EXPORTS / "video" / name, dirs_exist_ok=True)
    shutil.copy(EXPORTS / "image/model_index.json", EXPORTS / "video/model_index.json")
    motion.half().save_pretrained(EXPORTS / "motion", safe_serialization=True)


def main() -> None:
    args = loop.arguments("motion", steps=20000, minutes=35)
    tokenizer = load_tokenizer(args.out.parent / "tokenizer")
    text = CLIPTextModel.from_pretrained(EXPORTS / "image/text_encoder", dtype=torch.float32).eval()
    model = network().to(args.device)
    model.set_attn_processor(AttnProcessor())
    run = loop.Run(model, args, lr=6e-4, decay=0.99)
    schedule = diffusion.scheduler()
    generator = torch.Generator().manual_seed(args.seed + run.step)
    batches = Batches(args.seed + run.step, tokenizer, args.batch or FRAMES)

    def step(index: int) -> tuple[torch.Tensor, dict[str, float]]:
        clean, told, ids = batches.next()
        noisy, timesteps, target = diffusion.noised(schedule, clean, generator)
        with torch.no_grad():
            states = diffusion.hidden_states(text, ids).repeat_interleave(clean.shape[2], dim=0)
        with torch.autocast(args.device.split(":")[0], dtype=torch.bfloat16):
            out = model(torch.cat([noisy, told], dim=1), timesteps, encoder_hidden_states=states).sample
        return diffusion.loss(schedule, out.float(), target, timesteps), {}

    if not args.export:
        run.train(step)
    export(run.averaged())


if __name__ == "__main__":
    main()
