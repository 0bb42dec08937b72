"""The job file: what a user writes down about a job, read with every mistake at once."""

from capanode.node.jobfile.job_file import CidInput, InputSource, JobFile, LocalInput, UrlInput
from capanode.node.jobfile.parse import parse
from capanode.node.jobfile.problems import JobFileErrors, Problem

__all__ = [
    "CidInput",
    "InputSource",
    "JobFile",
    "JobFileErrors",
    "LocalInput",
    "Problem",
    "UrlInput",
    "parse",
]
