"""The table of `make stability`: how far rounding moves the result of a recipe."""

import pandas as pd

from harness.reference.stability.measurement import Stability

NOTE = (
    "Every run is trained again from trained values that are moved by one unit in the last place: all up, all down, "
    "then each in a direction drawn at random. std: over seeds, of the runs that are not moved. moves: number of these "
    "trainings, and the largest distance between one of them and the run of the same seed, in points. weights: largest "
    "distance between their trained values, as a share of how far training moved them. stable: the metric moves by "
    "less than its std; sensitive: it does, but weights end more than 0.01 apart; chaotic: it moves by its std or "
    "more, so that rounding (another torch, processor or number of threads) decides as much as the seed."
)


def stability_table(measured: list[Stability]) -> pd.DataFrame:
    """Text cells, one row for each recipe."""
    rows = []
    for item in measured:
        moved = item.moves > 0
        accuracies = {f"{name} moves": f"{value:.2f}" if moved else "-" for name, value in item.accuracy_moves.items()}
        rows.append(
            {
                "method": item.label,
                "seeds": str(len(item.seeds)),
                "moves": str(item.moves),
                item.metric: f"{item.score:.2f}",
                "std": "-" if item.spread is None else f"{item.spread:.2f}",
                f"{item.metric} moves": f"{item.score_moves:.2f}" if moved else "-",
                **accuracies,
                "weights": f"{item.weights_apart:.0e}" if moved else "-",
                "verdict": item.verdict,
            }
        )
    return pd.DataFrame(rows).fillna("-")
