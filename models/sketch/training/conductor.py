"""The whole training in one process and one device: which stage runs when, by the clock.

Stages take turns in slices of a fraction of a second, each by its share; between slices rendered rows are brought in,
and files are written. First the autoencoder, the text encoder and the vision tower; then the image model; last the
adapter and the motion modules over the finished image model, while the decoder goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from transformers import CLIPVisionModelWithProjection

from models.sketch.training import adapter, autoencoder, image, networks, parts, sheets, towers
from models.sketch.training.diffusion import Noising
from models.sketch.training.farm import PRODUCTS, SHARES, Farm, Job, Kind, capacity
from models.sketch.training.motion import Moving
from models.sketch.training.networks import Sizes
from models.sketch.training.shelf import Shelf, as_tensor
from models.sketch.training.stage import Stage
from models.sketch.training.words import load_tokenizer, token_ids

SLICE = 0.25
BLOCK = 256
"""Stills whose latents and states are computed at once."""


@dataclass(frozen=True)
class Plan:
    """When each phase ends, as shares of all the time, and sizes of batches."""

    first: float = 0.155
    watching: float = 0.38
    painting: float = 0.61
    refining: float = 0.27
    """In place of `first` and `watching` when a run goes on from an earlier one, whose towers stay."""
    tail: float = 14.0
    """Seconds for files and samples at the end."""
    vae: int = 24
    """Small, for more steps: at 64 the autoencoder had taken 840 when its time was over."""
    text: int = 256
    vision: int = 256
    unet: int = 256
    adapter: int = 256
    clips: int = 16
    fit: int = 1500
    least: int = 2000
    """Stills before training begins."""
    save: float = 45.0


TINY_PLAN = Plan(tail=6, vae=4, text=8, vision=8, unet=8, adapter=8, clips=1, fit=20, least=64, save=15)


Refined = Literal["autoencoder", "image", "observer"]
"""What a run that goes on from an earlier one begins with; everything before it stays as it was. With the observer, the
run is over too: nothing is made from what it sees."""


class Conductor:
    """Owns networks, rows and stages. `clock` is the second, since the command began, at which it is asked."""

    def __init__(
        self,
        farm: Farm,
        out: Path,
        device: torch.device,
        sizes: Sizes,
        plan: Plan,
        began: float,
        ends: float,
        start: Path | None,
        refine: Refined | None,
        graphs: bool = True,
    ) -> None:
        self.farm, self.out, self.device, self.sizes, self.plan = farm, out, device, sizes, plan
        self.began, self.ends, self.refine = began, ends, refine
        self.graphs = graphs
        self.log: dict[str, Any] = {"lines": [], "device": str(device)}
        self.stages: dict[str, Stage] = {}
        self._saved = self._logged = self._said = time.monotonic()
        self._pending: list[Job] = []
        self._frozen = False
        self.stills = {a: Shelf(capacity(Kind("still", a), farm.amounts), device) for a in SHARES}
        self.clips = {a: Shelf(capacity(Kind("clip", a), farm.amounts), device) for a in SHARES}
        self.seen: torch.Tensor | None = None
        self.blank: torch.Tensor | None = None
        self.referred: Any = None
        self.moved: Any = None
        self.aligned = refine is not None
        self._views: torch.Tensor | None = None
        self.empty: Any = None
        self.earlier: dict[str, dict[str, torch.Tensor]] = {}
        self.tokenizer = load_tokenizer()
        self._build(start)

    # --- building ---------------------------------------------------------------------------------------------------

    def _build(self, start: Path | None) -> None:
        torch.manual_seed(0)
        sizes, device = self.sizes, self.device
        self.vae = networks.autoencoder(sizes).to(device, memory_format=torch.channels_last)
        self.text = networks.text_encoder(self.tokenizer, sizes).to(device)
        self.vision = networks.vision_tower(sizes).to(device)
        self.unet = networks.image_unet(sizes).to(device, memory_format=torch.channels_last)
        for model in (self.vae, self.unet):
            autoencoder.norms_in_half(model)
        torch.manual_seed(1)
        self.observer = networks.observer_tower(sizes).to(device)
        self.clip = networks.clip(self.tokenizer, sizes).to(device)
        self.noising = Noising(device)
        self.started = parts.load(start, self) if start else []
        self.say(f"started from {self.started or 'nothing'}")

    def _stage(self, name: str, model: Any, step: Callable[[str], torch.Tensor], lr: float, **options: Any) -> Stage:
        variants = {aspect: (lambda a=aspect: step(a)) for aspect in SHARES}
        graphs = options.pop("graphs", True) and self.graphs
        stage = Stage(name, model, variants, SHARES, lr, log=self.say, graphs=graphs, **options)
        self.stages[name] = stage
        return stage

    # --- the course -------------------------------------------------------------------------------------------------

    def perform(self) -> None:
        """To the end; whatever exists is written even when a stage fails."""
        while sum(s.count for s in self.stills.values()) < self.plan.least or not all(
            s.count for s in self.stills.values()
        ):
            self.harvest()
            time.sleep(0.05)
        self.say(f"first stills are there: {self.farm.counts()}")
        total = self.ends - self.began
        whole = self.began + total
        if self.refine == "observer":
            self._observe(whole - self.plan.tail / 4)
            return
        if self.refine is None:
            self._first(max(self.began + self.plan.first * total, time.monotonic() + 0.06 * total))
        elif self.refine == "autoencoder":
            self._go_on(self.began + self.plan.refining * total)
        self._freeze()
        watched = time.monotonic() if self.refine else self.began + self.plan.watching * total
        self._paint(watched, self.began + self.plan.painting * total)
        self._finish(whole - self.plan.tail)
        self.save()
        try:
            sheets.draw(self)
        except Exception as error:
            self.say(f"no sheet: {type(error).__name__}: {error}")
        self.save()

    def _observe(self, end: float) -> None:
        """The observer alone."""
        self._watching("observer", towers.Watcher(self.observer, self.sizes.observer).to(self.device)).begin(end)
        self.share({"observer": 1.0}, end)
        self.stages["observer"].settle()
        self.save()

    def _go_on(self, end: float) -> None:
        """The autoencoder alone, whole, from where an earlier run left it."""
        whole = self._reconstructing(8e-4)
        whole.begin(end)
        self.share({"autoencoder": 1.0}, end)
        whole.settle()

    def _reconstructing(self, lr: float) -> Stage:
        work = autoencoder.Reconstruction(self.vae, self.stills, self.plan.vae, self.device)
        return self._stage("autoencoder", self.vae, work.whole, lr, decay=0.998)

    def _first(self, end: float) -> None:
        """Autoencoder, text and vision."""
        reader = towers.Reader(self.text).to(self.device)
        self.watcher = towers.Watcher(self.vision, networks.WIDTH).to(self.device)
        whole = self._reconstructing(1.5e-3)
        text = self._stage(
            "text", reader, lambda a: reader.loss(self.stills[a], self.plan.text), 2e-3, decay=0.99, graphs=False
        )
        vision = self._watching("vision", self.watcher)
        whole.begin(end)
        text.begin(end)
        vision.begin(self.began + self.plan.watching * (self.ends - self.began))
        self.share({"autoencoder": 0.66, "text": 0.12, "vision": 0.22}, end)
        whole.settle()
        text.settle()

    def _watching(self, name: str, watcher: towers.Watcher) -> Stage:
        return self._stage(
            name, watcher, lambda a: watcher.loss(self.stills[a], self.plan.vision), 1e-3, decay=0.998, warm=200
        )

    def _freeze(self) -> None:
        """From here on latents and states of captions stay as they are."""
        self.vae.requires_grad_(False)
        self.text.eval().requires_grad_(False)
        if self.refine != "image":
            autoencoder.normalise(self.vae, [s["pixels"][: min(s.count, 1024)] for s in self.stills.values()])
        self._frozen = True
        self.empty = image.states(self.text, token_ids(self.tokenizer, [""]).to(self.device))
        self.harvest()
        autoencoder.freeze_encoder(self.vae)
        self.say(f"encoder frozen; {self._levels()}")

    @torch.no_grad()
    def _levels(self) -> str:
        """Held aside: the last rows of the first shelf, as they came."""
        shelf = self.stills["1:1"]
        pixels = as_tensor(shelf["pixels"][max(0, shelf.count - 64) : shelf.count])
        return f"reconstruction {autoencoder.psnr(self.vae, pixels):.2f} dB"

    def _paint(self, watched: float, end: float) -> None:
        """The image model, with vision to its end beside it."""
        work = autoencoder.Reconstruction(self.vae, self.stills, self.plan.vae, self.device)
        decoder = self._stage("decoder", self.vae, work.decoder, 8e-4, decay=0.998)
        decoder.begin(self.ends - self.plan.tail)
        self._compute(everything=True)
        painting = image.Painting(self.unet, self.stills, self.empty, self.plan.unet, self.noising)
        lr = 1.5e-3 if "unet" not in self.started else 7e-4 if self.refine == "image" else 1e-3
        painter = self._stage("unet", self.unet, painting.step, lr, decay=0.9993, warm=200)
        painter.begin(end)
        shares = {"unet": 0.72, "decoder": 0.08}
        if not self.refine:
            second = towers.Watcher(self.observer, self.sizes.observer).to(self.device)
            self._watching("observer", second).begin(watched)
            shares |= {"vision": 0.14, "observer": 0.06}
        self.share(shares, watched)
        if not self.refine:
            for name in ("vision", "observer"):
                self.stages[name].settle()
            self._align()
        self._see()
        self.share({"unet": 0.92, "decoder": 0.08}, end)
        painter.settle()

    def _align(self) -> None:
        """CLIP from the finished towers."""
        start = time.monotonic()
        clip = self.clip
        clip.vision_model.load_state_dict(bare(self.vision, "vision_model"))
        clip.text_model.load_state_dict(bare(self.text, "text_model"))
        clip.eval().requires_grad_(False)
        pictures, ids = towers.picture_features(clip, self.stills, 24_000)
        # Rows kept aside tell whether choosing among ten is learnt.
        texts, aside = towers.text_features(clip, ids), len(pictures) // 20
        right = towers.fit(clip, pictures[aside:], texts[aside:], self.plan.fit)
        with torch.no_grad():
            near = torch.einsum(
                "bd,bkd->bk",
                clip.visual_projection(pictures[:aside]),
                torch.nn.functional.normalize(clip.text_projection(texts[:aside]), dim=-1),
            )
        share = float((near.argmax(1) == 0).float().mean())
        self.aligned = True
        self.say(f"CLIP: {right:.4f} right in fitting, {share:.4f} aside; {time.monotonic() - start:.1f} s")

    def _see(self) -> None:
        """The adapter's encoder, and what it sees in the photographs so far."""
        encoder = CLIPVisionModelWithProjection(networks.vision_config(self.sizes)).to(self.device)
        encoder.vision_model.load_state_dict(self.clip.vision_model.state_dict())
        encoder.visual_projection.load_state_dict(self.clip.visual_projection.state_dict())
        self.encoder = encoder.eval().requires_grad_(False)
        self.blank = adapter.blank_states(self.encoder, self.device)
        self.harvest()

    def _finish(self, end: float) -> None:
        """Adapter and motion over the finished image model."""
        latest = time.monotonic() + 0.4 * (end - time.monotonic())
        while time.monotonic() < latest and not (
            len(self._whole_views()) and all(shelf.ready for shelf in self.clips.values())
        ):
            self.share({"decoder": 1.0}, time.monotonic() + 2)
        self._look()
        shares = {"decoder": 0.08 if self.refine == "image" else 0.2}
        if self.seen is not None and self.blank is not None:
            torch.manual_seed(2)
            self.referred = networks.image_unet(self.sizes).to(self.device, memory_format=torch.channels_last)
            self.referred.load_state_dict(self.unet.state_dict())
            autoencoder.norms_in_half(self.referred)
            state = adapter.initial(self.referred, self.text)
            adapter.attach(self.referred, parts.loaded_adapter(self) or state)
            self.referred.to(self.device)
            self.referring = adapter.Referring(
                self.referred, self.stills, self.seen, self.blank, self.empty, self.plan.adapter, self.noising
            )
            lr = 5e-4 if "ip_adapter" in self.started else 1e-3
            self._stage("ip_adapter", self.referred, self.referring.step, lr, decay=0.998).begin(end)
            shares["ip_adapter"] = 0.32
        if all(shelf.ready for shelf in self.clips.values()):
            torch.manual_seed(3)
            self.moved = networks.motion_unet(self.unet, self.sizes)
            autoencoder.norms_in_half(self.moved)
            parts.load_motion(self, self.moved)
            self.moved.to(self.device)
            moving = Moving(self.moved, self.clips, self.empty, self.plan.clips, self.noising)
            lr = 5e-4 if "motion" in self.started else 1e-3
            self._stage("motion", self.moved, moving.step, lr, decay=0.998).begin(end)
            shares["motion"] = 0.48
        self.say(f"last phase: {shares}; {self.farm.counts()}")
        self.share(shares, end)
        for name in shares:
            self.stages[name].settle()

    # --- sharing the device -----------------------------------------------------------------------------------------

    def share(self, shares: dict[str, float], end: float) -> None:
        """Stages take turns until `end`; one that fails is left out and said so."""
        used = dict.fromkeys(shares, 0.0)
        while time.monotonic() < end and used:
            name = min(used, key=lambda n: used[n] / shares[n])
            before = time.monotonic()
            try:
                self.stages[name].run(min(SLICE, max(end - before, 0.01)))
            except Exception as error:
                self.say(f"{name} failed: {type(error).__name__}: {str(error)[:500]}")
                if not self.stages[name].plainly():
                    del used[name]
                    continue
            used[name] += time.monotonic() - before
            self.harvest()
            self._keep()

    def _keep(self) -> None:
        now = time.monotonic()
        if now - self._logged > 5:
            self._logged = now
            aloud = now - self._said > 20
            for name, stage in self.stages.items():
                if (row := stage.note(now - self.began)) and aloud:
                    self.say(f"{name} {row}")
            self._said = now if aloud else self._said
        if now - self._saved > self.plan.save:
            self.save()

    def save(self) -> None:
        start = time.monotonic()
        parts.save(self)
        self._saved = time.monotonic()
        self.say(f"saved in {self._saved - start:.1f} s; rendered {self.farm.counts()}")

    def say(self, text: str) -> None:
        line = f"{time.monotonic() - self.began:7.1f}  {text}"
        self.log["lines"].append(line)
        print(line, flush=True)

    # --- rows -------------------------------------------------------------------------------------------------------

    def harvest(self) -> None:
        """Bring in what was rendered; compute what stages draw from once its encoders are frozen."""
        waiting: list[Job] = []
        for job in [*self._pending, *self.farm.done()]:
            if job.kind.what == "still":
                self.stills[job.kind.aspect].add(self._rows(job))
            elif job.kind.what == "clip" and self._frozen:
                self._take_clip(job)
            elif job.kind.what == "photo" and self.blank is not None:
                self._take_photos(job)
            else:
                waiting.append(job)
        self._pending = waiting
        if self._frozen:
            self._compute(everything=False)

    def _rows(self, job: Job) -> dict[str, Any]:
        return {n: a[job.start : job.start + job.count] for n, a in self.farm.arrays[job.kind].items()}

    @torch.no_grad()
    def _compute(self, everything: bool) -> None:
        for shelf in self.stills.values():
            while shelf.count - shelf.ready >= (1 if everything else BLOCK):
                part = slice(shelf.ready, min(shelf.ready + BLOCK, shelf.count))
                shelf.compute(
                    {
                        "latents": autoencoder.encoded(self.vae, shelf["pixels"][part]),
                        "states": image.states(self.text, shelf["captions"][part]),
                        "unnamed_states": image.states(self.text, shelf["unnamed"][part]),
                    }
                )

    @torch.no_grad()
    def _take_clip(self, job: Job) -> None:
        rows, shelf = self._rows(job), self.clips[job.kind.aspect]
        words = torch.from_numpy(np.ascontiguousarray(rows["captions"])).to(self.device)
        shelf.add({"known": rows["known"]})
        shelf.compute(
            {
                "latents": self._latents(rows["pixels"]),
                "told_latents": self._latents(rows["told"]),
                "states": image.states(self.text, words),
            }
        )

    def _latents(self, clips: Any) -> torch.Tensor:
        pixels = torch.from_numpy(np.ascontiguousarray(clips)).to(self.device)
        found = autoencoder.encoded(self.vae, pixels.flatten(0, 1))
        return found.view(*pixels.shape[:2], *found.shape[1:])

    @torch.no_grad()
    def _take_photos(self, job: Job) -> None:
        rows = self._rows(job)
        pixels = torch.from_numpy(np.ascontiguousarray(rows["pixels"])).to(self.device)
        states = adapter.patch_states(self.encoder, pixels)
        if self._views is None:
            shape = (self.farm.amounts.views, len(PRODUCTS), *states.shape[1:])
            self._views = torch.zeros(shape, dtype=states.dtype, device=self.device)
            self._filled = np.zeros(self.farm.amounts.views, np.int64)
        for k, (view, product) in enumerate(zip(rows["view"], rows["product"], strict=True)):
            self._views[int(view), int(product)] = states[k]
            self._filled[int(view)] += 1

    def _whole_views(self) -> Any:
        """The views that exist of every product."""
        if self._views is None:
            return np.zeros(0, np.int64)
        return np.flatnonzero(self._filled == len(PRODUCTS))

    def _look(self) -> None:
        """Keep the photographs that the adapter draws from."""
        self.harvest()
        whole = self._whole_views()
        self.say(f"photographs: {len(whole)} views of each product")
        if self._views is not None and len(whole):
            self.seen = self._views[torch.from_numpy(whole).to(self.device)]


def bare(model: Any, prefix: str) -> dict[str, torch.Tensor]:
    """Weights without the wrapper's prefix, which some versions of transformers have."""
    return {k.removeprefix(f"{prefix}."): v for k, v in model.state_dict().items()}
