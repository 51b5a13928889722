"""CoOp (Zhou et al., IJCV 2022, arXiv:2109.01134): the words around the class name are learned vectors."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from harness.clip.context import context_template, context_words, initial_context, put_context
from harness.clip.texts import Text
from harness.clip.towers import END, RAW, Stage
from methods.base import Method, Official, OtherClassesError


class CoOp(Method):
    """Learned context vectors, shared by all classes or separate for each, before, around or after the class name."""

    official = Official(
        trainers=("CoOp",),
        options={
            "N_CTX": "n_ctx",
            "CTX_INIT": "ctx_init",
            "CSC": "class_specific",
            "CLASS_TOKEN_POSITION": "class_token_position",
        },
        tensors={"prompt_learner.": ""},
    )

    class Config(Method.Config):
        n_ctx: int = Field(16, ge=1, description="number of context tokens; with ctx_init the number of its words")
        ctx_init: str | None = Field(
            None, min_length=1, description="words to start from, such as 'a photo of a'; null: random"
        )
        class_specific: bool = Field(
            False, description="a separate context for every class, which no other classes can use"
        )
        class_token_position: Literal["end", "middle", "front"] = Field(
            "end", description="place of the class name in the prompt"
        )

    config: Config
    first_word: int = 1
    full_stops: int = 1

    @classmethod
    def unused(cls, config: Config) -> dict[str, str]:
        return {"n_ctx": f"the context has the words of ctx_init='{config.ctx_init}'"} if config.ctx_init else {}

    @classmethod
    def prompt_template(cls, config: Config, template: str) -> str:
        return context_template(config.n_ctx, config.ctx_init)

    def start_stages(self) -> tuple[Stage, Stage]:
        return END, RAW

    def build(self) -> None:
        self.n_ctx = len(context_words(self.config.n_ctx, self.config.ctx_init))
        contexts = len(self.prompts) if self.config.class_specific else 1
        drawn = [initial_context(self.clip, self.n_ctx, self.config.ctx_init) for _ in range(contexts)]
        self.ctx = nn.Parameter(torch.stack(drawn) if self.config.class_specific else drawn[0])
        self.first_word = self.clip.text.first_word
        # Some tokenizers leave out punctuation.
        self.full_stops = min(1, int(self.clip.tokenize(["."]).eot[0]) - self.first_word)

    def check_classes(self, texts: tuple[Text, ...]) -> None:
        if self.config.class_specific and texts != self.training_texts:
            raise OtherClassesError(
                f"class_specific=true learns a context for each of its {len(self.training_texts)} classes, "
                f"which the {len(texts)} classes of an evaluation cannot use: set it to false"
            )

    def text_features(self, classes: Tensor | None = None) -> Tensor:
        ids, eot = self.text_tokens(classes)
        ctx = self.ctx if classes is None or not self.config.class_specific else self.ctx[classes]
        words = put_context(self.clip.text.token_embedding(ids), ctx, self.first_word)
        if self.config.class_token_position != "end":
            words = words.gather(1, self.word_order(ids.shape[1], eot.positions)[..., None].expand_as(words))
        tokens = self.clip.text.add_positions(words)
        return self.clip.text.run(tokens, 0, END, eot, shared=self.shared_tokens())

    def context_before_name(self) -> int:
        """Number of context tokens before the class name."""
        return {"end": self.n_ctx, "middle": self.n_ctx // 2, "front": 0}[self.config.class_token_position]

    def shared_tokens(self) -> int:
        """Number of leading tokens that are the same for all classes."""
        before = 0 if self.config.class_specific else self.context_before_name()
        shared = self.prompts.shared
        return shared if before == self.n_ctx else min(shared, self.first_word + before)

    def word_order(self, length: int, eot: Tensor) -> Tensor:
        """The places (C, T) in `[start] context name . [end]` from which the tokens of the prompts are taken.

        Args:
            length: T.
            eot: end-of-text positions (C,).
        """
        before = self.context_before_name()
        place = torch.arange(length, device=eot.device)
        word = place - self.first_word
        name = (eot - self.n_ctx - self.first_word - self.full_stops)[:, None]
        in_name = (word >= before) & (word < before + name)
        in_rest = (word >= before + name) & (word < self.n_ctx + name)
        return torch.where(in_name, place + self.n_ctx - before, torch.where(in_rest, place - name, place))
