"""Job files on the command line: read, checked, and their image pinned where the user's own images are."""

from pathlib import Path

from capanode.node.cli.output import note
from capanode.node.jobfile.job_file import JobFile
from capanode.node.jobfile.parse import parse


def checked(text: str, path: Path) -> JobFile:
    """The job of a file's text; what deserves a thought is noted, what is wrong is raised with its lines."""
    job = parse(text, path=path)
    for warning in job.warnings:
        note(f"{path}: {warning}")
    return job


def pinned_image(text: str, path: Path) -> str:
    """The pinned image of a job file: `name@sha256:…`, or the absolute path of an archive."""
    return pinned(checked(text, path).image, path.absolute().parent)


def pinned(image: str, folder: Path | None = None) -> str:
    """Pin an image: a registry's tag becomes its digest, an image of the local engine an archive; both are said."""
    from capanode.node.images.resolve import resolve_image

    return resolve_image(image, folder or Path.cwd(), note)
