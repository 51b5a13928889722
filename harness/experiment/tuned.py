"""Where settings that were searched for come from: the sweep, what it was judged on, and its budget."""

from pydantic import Field

from harness.experiment.settings import Section, Settings
from harness.text import counted

MEASURED = "seconds"
"""What a sweep took. It is measured and decides nothing, so it is no part of a run's id."""


class TunedSpec(Section):
    """Where a recipe that was searched for comes from; it travels into every table.

    What recipes of earlier versions do not say is None.
    """

    study: str = Field(description="name of the sweep")
    trials: int = Field(description="trials that were looked at")
    data: str = Field(description="pictures that the choice was made on")
    seeds: tuple[int, ...] = Field(description="seeds of every trial")
    protocol: str | None = Field(None, description="protocol of the trials")
    dataset: str | None = Field(None, description="training data set of the trials")
    shots: int | None = Field(None, description="training pictures a class of the trials")
    recipe: str | None = Field(None, description="recipe that the sweep changed")
    settings: Settings | None = Field(None, description="what the sweep set: all else is the recipe's")
    budget: str | None = Field(None, description="budget that several methods had alike, such as '6 trials'")
    methods: tuple[str, ...] = Field((), description="the methods that had this budget")
    seconds: float | None = Field(None, description="measured seconds of all trials together")

    def summary(self) -> str:
        """How the recipe was found, for footnotes."""
        seeds = ("seed " if len(self.seeds) == 1 else "seeds ") + ",".join(map(str, self.seeds))
        equal = f", the same budget for {', '.join(self.methods)}" if self.budget and self.methods else ""
        return f"{counted(self.trials, 'trial')} on {self.data}, {seeds} (study {self.study}){equal}"

    @staticmethod
    def identity(dump: Settings) -> Settings:
        """What of a dumped record belongs to the id of a run: nothing measured, nor what came later at its default."""
        fields = TunedSpec.model_fields
        known = {key: value for key, value in dump.items() if key != MEASURED}
        return {key: value for key, value in known.items() if fields[key].is_required() or value not in (None, [], ())}
