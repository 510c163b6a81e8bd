"""Start Dask workers as SLURM jobs and generate a data set on them.

Run on a login node, or in a small job of its own that lives as long as the generation:

    python -m pip install "opkit[cluster]"
    python scheduler.py navier-stokes /scratch/me/navier-stokes.h5

The output folder must be visible to all nodes under the same path. Interrupted, it goes
on where it was: run the same line again. Set account and partition to yours.
"""

import sys
from pathlib import Path

from dask_jobqueue import SLURMCluster

from opkit import load_case
from opkit.generate import Progress, generate


def show(progress: Progress) -> None:
    """Print one line now and then."""
    print(
        f"{progress.done} of {progress.total} samples, "
        f"worst solver error {progress.worst:.1e}",
        flush=True,
    )


def main(name: str, out: Path) -> None:
    """Ask for 64 workers, one core each, and let them solve the case."""
    cluster = SLURMCluster(
        account="my-account",
        queue="standard",
        cores=16,
        processes=16,  # one process a core: solvers use one thread each
        memory="32GB",
        walltime="02:00:00",
        job_extra_directives=["--exclusive"],
    )
    cluster.scale(jobs=4)
    generate(
        load_case(name),
        out,
        scheduler=cluster.scheduler_address,
        resume=out.with_name(f"{out.name}.parts").exists(),
        progress=show,
    )


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
