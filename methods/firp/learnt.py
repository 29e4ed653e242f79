"""What FIRP's training achieved: compared with drafters that learnt less, and with real states.

Its untrained start are identity maps.
"""

from collections.abc import Sequence

from harness.experiment.folder import COSINE
from harness.files import write_csv
from harness.method import Job
from methods.firp.projections import Projections, load
from methods.firp.similarity import COLUMNS, Cosines, add_similarities, add_today
from methods.firp.streams import Streams
from methods.shared.accuracy import measure
from methods.shared.learnt import TRAINED, UNTRAINED, write_learnt
from methods.shared.trees import Trace


def examine(job: Job) -> None:
    """Replay trained and untrained maps and the bigrams; compare pseudo states with real ones.

    Writes learnt.csv and cosine.csv.
    """
    maps = load(job.folder, job.target.hidden_size, job.target.weights_hash)
    identity = Projections(maps.layout, job.target.hidden_size, len(job.target.layers))
    size, cosines = job.settings.evaluation_batch, Cosines()
    traces: dict[str, Sequence[Trace]] = {}
    steps = maps.layout.steps
    for drafter, name, projections in ((TRAINED, "firp", maps), (UNTRAINED, "identity", identity)):
        streams = Streams(job.target, projections.to(job.target.device))
        measured = measure(streams.predict, job.tune, steps, job.target.device, size)
        traces[drafter] = measured.traces
        add_similarities(cosines, name, streams, job.tune, size)
    add_today(cosines, streams, job.tune, size)
    write_csv(job.folder / COSINE, COLUMNS, cosines.lines())
    write_learnt(job, traces, steps)
