"""Chat in this process with transformers: text models, and LLaVA-type models that also see images.

JSON answers are valid by construction (`models.llm.grammar`), sampling is seeded and touches no global random state,
and every token is a chance to stop: cancelled, out of time, out of tokens.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from PIL import Image
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
    GenerationConfig,
    LogitsProcessorList,
    StoppingCriteriaList,
)
from transformers.utils import logging

from models.diffusion.memory import free_device_memory, is_out_of_memory
from models.errors import BudgetExceeded, InferenceFailed, InvalidRequest, OutOfMemory, WeightsError
from models.interfaces import ChatMessage, ChatRequest, ChatResult, EncodedImage, Watcher, unread
from models.llm.grammar import Grammars, Sampler, SpecialTokens
from models.llm.openai_wire import FIRST_TOKENS
from models.spec import ChatModelSpec

Outcome = TypeVar("Outcome")

BROKEN = "\N{REPLACEMENT CHARACTER}"
"""What a tokenizer makes of the first bytes of a letter of several."""


class TextPieces:
    """Turns the tokens of one answer into text, written piece by piece as soon as each piece is certain."""

    def __init__(self, tokenizer: Any, stop: tuple[str, ...], write: Callable[[str], None]) -> None:
        """`tokenizer` of transformers; `stop` strings end the answer and are not part of it."""
        self.stopped = False
        """Whether a stop string was met: further tokens are of no use."""
        self._tokenizer = tokenizer
        self._stop = stop
        self._write = write
        self._kept_back = max((len(text) for text in stop), default=1) - 1
        self._tokens: list[int] = []
        self._shown = 0
        """How many tokens have their text written."""
        self._context = 0
        """Where the window starts: tokens before it cannot change how later ones are spelled."""
        self._held = ""
        self._written: list[str] = []

    @property
    def text(self) -> str:
        """All text written so far."""
        return "".join(self._written)

    def add(self, token: int) -> None:
        """Take the next token; special tokens have no text."""
        self._tokens.append(token)
        before, now = self._decode(self._context, self._shown), self._decode(self._context, len(self._tokens))
        if len(now) > len(before) and not now.endswith(BROKEN):
            self._context, self._shown = self._shown, len(self._tokens)
            self._take(now[len(before) :])

    def end(self) -> None:
        """No more tokens: write what was held back, a broken letter included."""
        if not self.stopped:
            rest = self._decode(self._context, len(self._tokens))[len(self._decode(self._context, self._shown)) :]
            self._take(rest)
        if not self.stopped:
            self._put(len(self._held))

    def _take(self, piece: str) -> None:
        self._held += piece
        found = [place for place in map(self._held.find, self._stop) if place >= 0]
        if found:
            self.stopped = True
            self._put(min(found))
        else:
            self._put(len(self._held) - self._kept_back)

    def _put(self, length: int) -> None:
        if length > 0:
            piece, self._held = self._held[:length], self._held[length:]
            self._written.append(piece)
            self._write(piece)

    def _decode(self, start: int, end: int) -> str:
        text: str = self._tokenizer.decode(
            self._tokens[start:end], skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text


TOKENS_PER_STEP = 8
"""The watcher hears of every eighth token, and of the first."""


class TransformersChat:
    """A `ChatModel` on the folder `main`: any causal language model, or image-text-to-text model, of transformers.

    Decodes with `generate`: a loop of our own saved 14 % per token (113 against 99 tokens/s, 11.5 M parameters, one
    core), too little to own the caching and position rules of every architecture.
    """

    def __init__(self, spec: ChatModelSpec, folders: Mapping[str, Path], device: str) -> None:
        """Load the weights onto `device` ("cpu", "cuda", "cuda:1" …), offline, from safetensors only.

        Raises WeightsError when the folder cannot be loaded, or sees no images though the description says it does.
        """
        self._spec = spec
        with _loading(spec):
            model, processor = _load(spec, folders["main"])
        self._model = model.to(device).eval()
        self._processor = processor
        self._sees = hasattr(model.config, "vision_config")
        tokenizer = processor.tokenizer if self._sees else processor
        self._context_tokens = int(model.config.get_text_config().max_position_embeddings)
        self._tokenizer = tokenizer
        self._stop_ids = _stop_ids(self._model, tokenizer)
        self._special = SpecialTokens(tokenizer)
        self._forbidden = sorted(self._special.ids - set(self._stop_ids))
        width = int(self._model.get_output_embeddings().weight.shape[0])
        self._grammars = Grammars(tokenizer, width, self._stop_ids)

    def complete(self, request: ChatRequest, watcher: Watcher) -> ChatResult:
        """Answer `request`; free text, or JSON on one line that validates against `request.json_schema`.

        Raises InvalidRequest (images without vision, prompt beyond the context, a schema that cannot be guaranteed),
        BudgetExceeded (no end within the tokens or the time), Cancelled (from `watcher`), InferenceFailed.
        """
        result = self.stream(request, watcher, unread)
        if result.finish_reason == "length":
            raise BudgetExceeded(self._cut_short(request, result))
        return result

    def stream(self, request: ChatRequest, watcher: Watcher, write: Callable[[str], None]) -> ChatResult:
        """As `complete`, token by token to `write`; an answer that ran out of tokens is returned as it is.

        Also raises InvalidRequest for stop strings beside a schema, whose answer they would cut to no JSON.
        """
        started = time.monotonic()
        if request.stop and request.json_schema is not None:
            raise InvalidRequest("'stop' would cut an answer that must be JSON: leave out 'stop' or the schema")
        inputs = self._encode(request.messages)
        prompt_tokens = int(inputs["input_ids"].shape[1])
        limit = min(request.max_tokens, self._context_tokens - prompt_tokens)
        if limit < 1:
            raise InvalidRequest(
                f"the prompt has {prompt_tokens} tokens, but model {self._spec.name!r} has a context of "
                f"{self._context_tokens}: shorten the prompt or use another model"
            )

        first: dict[str, float] = {}

        def attempt() -> tuple[TextPieces, list[int]]:
            mask = None if request.json_schema is None else self._grammars.mask(request.json_schema)
            sampler = Sampler(request.seed, request.temperature, request.top_p, self._forbidden, mask)
            pieces = TextPieces(self._tokenizer, request.stop, write)
            follower = _Follower(request, watcher, pieces, prompt_tokens, limit, started)
            processors = (
                [_FirstToken(self._tokenizer, first, prompt_tokens), sampler] if request.first_token else [sampler]
            )
            return pieces, self._generate(inputs, processors, follower, limit)

        pieces, tokens = self._twice(attempt, f"{prompt_tokens} prompt and {limit} answer tokens")
        pieces.end()
        ended = pieces.stopped or tokens[-1] in self._stop_ids
        return ChatResult(
            text=pieces.text,
            prompt_tokens=prompt_tokens,
            completion_tokens=len(tokens),
            seconds=time.monotonic() - started,
            finish_reason="stop" if ended else "length",
            first_token=first,
        )

    def _encode(self, messages: tuple[ChatMessage, ...]) -> dict[str, torch.Tensor]:
        if not self._spec.vision and any(message.images for message in messages):
            raise InvalidRequest(
                f"model {self._spec.name!r} takes no images: use a chat model with vision or leave the images out"
            )
        inputs = self._processor.apply_chat_template(
            [{"role": message.role, "content": self._content(message)} for message in messages],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        )
        return {key: value.to(self._model.device) for key, value in inputs.items()}

    def _content(self, message: ChatMessage) -> str | list[dict[str, Any]]:
        text = self._special.spelled_out(message.content)
        if not self._sees:
            return text
        images = [{"type": "image", "image": _decode(image)} for image in message.images]
        return [*images, {"type": "text", "text": text}]

    def _twice(self, attempt: Callable[[], Outcome], amount: str) -> Outcome:
        """`attempt`, once more after a lack of memory before its first token: by then nobody has read a word of it.

        Raises OutOfMemory naming the `amount` that was asked for; what the attempts held is free then.
        """
        for last in (False, True):
            try:
                return attempt()
            except _NoRoom as error:
                final = last or error.tokens > 0
            # Outside of the handler: the traceback held every tensor of the failed attempt.
            free_device_memory()
            if final:
                break
        raise OutOfMemory(
            f"the device has no room for {amount} of chat model {self._spec.name!r}: shorten the prompt, send fewer or"
            " smaller images, or lower max_tokens"
        )

    @torch.inference_mode()
    def _generate(
        self, inputs: dict[str, torch.Tensor], processors: Sequence[Any], follower: _Follower, limit: int
    ) -> list[int]:
        # Greedy search over what the sampler leaves standing; nothing of the folder's own sampling defaults applies.
        config = GenerationConfig(
            max_new_tokens=limit, do_sample=False, eos_token_id=self._stop_ids, pad_token_id=self._stop_ids[0]
        )
        try:
            tokens = self._model.generate(
                **inputs,
                generation_config=config,
                logits_processor=LogitsProcessorList(processors),
                stopping_criteria=StoppingCriteriaList([follower]),
            )
        except (RuntimeError, MemoryError) as error:
            if is_out_of_memory(error):
                raise _NoRoom(follower.tokens) from error
            raise InferenceFailed(f"chat model {self._spec.name!r} failed: {error}") from error
        return [int(token) for token in tokens[0, inputs["input_ids"].shape[1] :]]

    def _cut_short(self, request: ChatRequest, result: ChatResult) -> str:
        if result.completion_tokens < request.max_tokens:
            return (
                f"the answer of {self._spec.name!r} did not end within the context of {self._context_tokens} tokens "
                f"({result.prompt_tokens} of them the prompt): shorten the prompt"
            )
        return (
            f"the answer of {self._spec.name!r} did not end within max_tokens={request.max_tokens}: "
            "raise max_tokens or ask for less"
        )


class _NoRoom(Exception):
    """The device's memory ran out after `tokens` tokens of an answer."""

    def __init__(self, tokens: int) -> None:
        super().__init__(tokens)
        self.tokens = tokens


class _FirstToken:
    """Notes how probable the tokens are that an answer can begin with; changes none."""

    def __init__(self, tokenizer: Any, into: dict[str, float], prompt_tokens: int) -> None:
        self._tokenizer = tokenizer
        self._into = into
        self._prompt_tokens = prompt_tokens

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if input_ids.shape[1] == self._prompt_tokens:
            likeliest = torch.log_softmax(scores[0].float(), dim=-1).topk(min(FIRST_TOKENS, scores.shape[-1]))
            for token, value in zip(likeliest.indices.tolist(), likeliest.values.tolist(), strict=True):
                self._into.setdefault(self._tokenizer.decode([token]), value)  # from the likeliest down
        return scores


class _Follower:
    """Stopping criterion: after each token it writes the text, tells the watcher and minds the clock."""

    def __init__(
        self,
        request: ChatRequest,
        watcher: Watcher,
        pieces: TextPieces,
        prompt_tokens: int,
        limit: int,
        started: float,
    ) -> None:
        self._seconds = request.timeout_seconds
        self._watcher = watcher
        self._pieces = pieces
        self._prompt_tokens = prompt_tokens
        self._limit = limit
        self._deadline = started + request.timeout_seconds
        self.tokens = 0
        """Tokens of the answer so far."""

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: object) -> torch.Tensor:
        done = self.tokens = input_ids.shape[1] - self._prompt_tokens
        if done % TOKENS_PER_STEP == 0 or done == 1:
            self._watcher.step(done, self._limit)
        if time.monotonic() > self._deadline:
            raise BudgetExceeded(
                f"the answer did not end within timeout_seconds={self._seconds:g} ({done} tokens so far): "
                "raise timeout_seconds or lower max_tokens"
            )
        self._pieces.add(int(input_ids[0, -1]))
        return torch.full((1,), self._pieces.stopped, dtype=torch.bool, device=input_ids.device)


@contextmanager
def _loading(spec: ChatModelSpec) -> Iterator[None]:
    """Without the progress bars that would tear a live display; what the library raises becomes a WeightsError."""
    had_bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise WeightsError(
            f"the weights of model {spec.name!r} cannot be loaded: {error}; run: admint models verify {spec.name}"
        ) from error
    finally:
        if had_bars:
            logging.enable_progress_bar()


def _load(spec: ChatModelSpec, folder: Path) -> tuple[Any, Any]:
    """The model and its processor: of images and text when the folder's config has a vision tower, else a tokenizer."""
    offline: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    sees = hasattr(AutoConfig.from_pretrained(folder, **offline), "vision_config")
    if spec.vision and not sees:
        raise WeightsError(
            f"model {spec.name!r} is described with 'vision: true', but the model in {str(folder)!r} sees no images: "
            "correct the description or the folder"
        )
    kind, reader = (AutoModelForImageTextToText, AutoProcessor) if sees else (AutoModelForCausalLM, AutoTokenizer)
    model = kind.from_pretrained(folder, dtype=getattr(torch, spec.dtype), use_safetensors=True, **offline)
    return model, reader.from_pretrained(folder, **offline)


def _decode(image: EncodedImage) -> Image.Image:
    try:
        return Image.open(io.BytesIO(image.data)).convert("RGB")
    except (OSError, Image.DecompressionBombError) as error:
        raise InvalidRequest(
            f"image {image.sha256[:12]!r} cannot be read ({error}): send a PNG, JPEG or WebP"
        ) from error


def _stop_ids(model: Any, tokenizer: Any) -> list[int]:
    """The ids that end an answer: the model's own list first, else the tokenizer's end token."""
    own = model.generation_config.eos_token_id
    ids = own if isinstance(own, list) else [own]
    return [int(token) for token in ids if token is not None] or [int(tokenizer.eos_token_id)]
