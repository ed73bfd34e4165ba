"""The command probe: any program that can say whether all is well (the plan's 8.1 and 8.2).

Owns what an exit code and a program's JSON mean. Starting and ending it is `process`' business.
"""

from __future__ import annotations

import asyncio
import math
import signal
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from monitor.fields import Model, Secret
from monitor.model import Deployment, Outcome, Sample, Target
from monitor.probes.base import ProbeConfig, ProbeIO, Spawn
from monitor.probes.failure import ProbeError, local_failure
from monitor.probes.http.assertions import JsonCheck, parse_document
from monitor.probes.http.conditions import show
from monitor.probes.http.fields import JsonAssertion, JsonPathText
from monitor.probes.http.jsonpath import look_up, parse_path
from monitor.probes.process import Ended, run_program
from monitor.probes.reason import Reason
from monitor.probes.verdict import failed, printable

STDOUT_LIMIT = 1024 * 1024
STDERR_LIMIT = 16 * 1024
SHOWN = 120
"""Characters of stderr in a detail."""
_DIGITS = 9
"""0.29 * 100 is 28.999999999999996, which nobody means."""
_URL = "{url}"
_MAX_VALUES = 32

Word = Annotated[str, StringConstraints(pattern=r"^[^\x00]*$")]
ValueName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]
ExitCode = Annotated[int, Field(ge=0, le=255)]


class ExitCodes(Model):
    """What exit codes mean; any that is not named is BAD (`failed`)."""

    good: list[ExitCode] = Field(default_factory=lambda: [0])
    """Codes that mean GOOD."""
    unknown: list[ExitCode] = Field(default_factory=lambda: [75])
    """The program could not measure. 75 is EX_TEMPFAIL."""

    @model_validator(mode="after")
    def _are_apart(self) -> Self:
        if set(self.good) & set(self.unknown):
            msg = "an exit code is both good and unknown"
            raise ValueError(msg)
        return self


class CommandValue(Model):
    """A number in the program's JSON, with its limits."""

    path: JsonPathText
    """Where the number stands in the JSON that the program prints."""
    scale: float = 1.0
    """Lighthouse's scores are 0-1: with `scale: 100` they read as people know them."""
    min: float | None = None
    """A smaller value, after scaling, is BAD (`json`)."""
    max: float | None = None
    """A larger number is BAD."""


class CommandProbeConfig(ProbeConfig):
    """Runs a program on this machine, such as a Playwright smoke test or Lighthouse.

    There is no shell and no environment but `env`. The exit code decides; JSON on its standard
    output can be judged too, and numbers in it become values. It is killed with all it started when
    the timeout is over, which is BAD (`timeout`); a program that cannot be started is UNKNOWN.
    """

    example: ClassVar[str] = (
        "{kind: command, name: lighthouse, interval: 1h, timeout: 2m, "
        "argv: [lighthouse, '{url}', --output=json, --quiet, --chrome-flags=--headless], "
        "env: {PATH: '/usr/local/bin:/usr/bin:/bin'}, "
        "values: {performance: {path: $.categories.performance.score, scale: 100, min: 90}, "
        "accessibility: {path: $.categories.accessibility.score, scale: 100, min: 95}}}"
    )

    kind: Literal["command"] = "command"
    argv: Annotated[list[Word], Field(min_length=1)]
    """Program and arguments; `{url}` stands for the deployment's URL."""
    env: dict[Annotated[str, StringConstraints(pattern=r"^[^\x00=]+$")], Word | Secret] = Field(
        default_factory=dict
    )
    """All of the program's environment, beside `PROBE_URL`, `PROBE_DEPLOYMENT`, `PROBE_REGION`."""
    cwd: str | None = None
    """Directory in which it runs; by default that of the monitor."""
    exit_codes: ExitCodes = ExitCodes()
    """What its exit code means; 0 is GOOD and every other BAD unless this says so."""
    json_: list[JsonAssertion] = Field(default_factory=list, alias="json")
    """Of standard output, at most 1 MiB; looked at when the exit code is good."""
    values: Annotated[
        dict[ValueName, JsonPathText | CommandValue], Field(max_length=_MAX_VALUES)
    ] = Field(default_factory=dict)
    """By name: a JSON path, or `{path, scale, min, max}`."""

    @model_validator(mode="after")
    def _has_program(self) -> Self:
        if not self.argv[0]:
            msg = "expected a program and its arguments"
            raise ValueError(msg)
        return self

    def reach(self, url: str) -> None:
        """Return nothing: what a program asks is its own affair."""

    def build(self, target: Target, deployment: Deployment, url: str, io: ProbeIO) -> CommandProbe:
        """Return the probe of `target`."""
        about = {
            "PROBE_URL": url,
            "PROBE_DEPLOYMENT": deployment.name,
            "PROBE_REGION": target.region,
        }
        return CommandProbe(
            target=target.id,
            argv=tuple(word.replace(_URL, url) for word in self.argv),
            env={**about, **self.env},
            cwd=self.cwd,
            spawn=io.spawn,
            exit_codes=self.exit_codes,
            reading=_Reading(self),
            clock=io.monotonic,
        )


class CommandProbe:
    """Runs the program once a run; holds no state between runs."""

    def __init__(
        self,
        *,
        target: str,
        argv: tuple[str, ...],
        env: Mapping[str, str | Secret],
        cwd: str | None,
        spawn: Spawn,
        exit_codes: ExitCodes,
        reading: _Reading,
        clock: Callable[[], float] | None,
    ) -> None:
        """Run `argv` with `env`; `clock` gives monotonic seconds, None means the loop's."""
        self._target = target
        self._argv = argv
        self._env = env
        self._cwd = cwd
        self._spawn = spawn
        self._codes = exit_codes
        self._reading = reading
        self._clock = clock

    async def __call__(self, at: float, deadline_s: float) -> Sample:
        """Run once; never raises for what the program does."""
        now = self._clock or asyncio.get_running_loop().time
        sample = Sample(target=self._target, at=at, outcome=Outcome.GOOD)
        started = now()
        try:
            ended = await self._run(deadline_s)
            sample = replace(sample, latency_s=now() - started)
            sample = replace(sample, values=self._reading.values(ended))
            self._judge(ended, deadline_s)
        except ProbeError as error:
            return failed(sample, error, deadline_s)
        return sample

    async def _run(self, deadline_s: float) -> Ended:
        try:
            return await run_program(
                self._spawn,
                self._argv,
                env={name: _plain(value) for name, value in self._env.items()},
                cwd=self._cwd,
                limit_s=deadline_s,
                stdout_limit=STDOUT_LIMIT,
                stderr_limit=STDERR_LIMIT,
            )
        except OSError as error:
            raise local_failure(error, f"start {self._argv[0]}") from error
        except (ValueError, NotImplementedError) as error:
            detail = f"cannot start {self._argv[0]}: {type(error).__name__}"
            raise ProbeError(Reason.PROBER_ERROR, detail) from error

    def _judge(self, ended: Ended, deadline_s: float) -> None:
        """Accept what the program did and said.

        Raises:
            ProbeError: (timeout, failed, json, prober_error, local_resource) when it is not good.
        """
        code, said = ended.status, self._last_line(ended.stderr)
        if code is None:
            raise ProbeError(Reason.TIMEOUT, f"killed after {deadline_s:g} s{said}")
        if code in self._codes.good:
            self._reading.judge(ended)
        elif code in self._codes.unknown:
            detail = f"the program could not measure (exit {code}){said}"
            raise ProbeError(Reason.PROBER_ERROR, detail)
        elif code == -signal.SIGKILL:
            # Not by us: on Linux that is the memory limit, and the program was running here.
            raise ProbeError(Reason.LOCAL_RESOURCE, f"killed by the system{said}")
        else:
            how = f"signal {-code}" if code < 0 else f"exit {code}"
            raise ProbeError(Reason.FAILED, f"{how}{said}")

    def _last_line(self, stderr: bytes) -> str:
        """Return the end of what it complained about, without secrets of its environment."""
        text = stderr.decode("utf-8", "replace")
        for value in self._env.values():
            if isinstance(value, Secret) and value.reveal():
                text = text.replace(value.reveal(), "***")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return f": {printable(lines[-1])[-SHOWN:]}" if lines else ""


class _Reading:
    """What is read from a program's standard output."""

    def __init__(self, config: CommandProbeConfig) -> None:
        self._checks = tuple(check for item in config.json_ for check in item.compiled())
        self._values = tuple(
            (name, CommandValue(path=each) if isinstance(each, str) else each)
            for name, each in config.values.items()
        )

    def values(self, ended: Ended) -> tuple[tuple[str, float], ...]:
        """Return the values that are there, whatever the exit code says."""
        if not self._values or ended.is_cut:
            return ()
        try:
            document = parse_document(ended.stdout)
        except ProbeError:
            return ()
        found = ((name, _number(document, each)) for name, each in self._values)
        return tuple((name, number) for name, number in found if number is not None)

    def judge(self, ended: Ended) -> None:
        """Accept the output.

        Raises:
            ProbeError: (json) for the first thing that is not as expected.
        """
        if not self._checks and not self._values:
            return
        if ended.is_cut:
            detail = f"standard output is longer than {STDOUT_LIMIT // 1024} KiB"
            raise ProbeError(Reason.JSON, detail)
        try:
            document = parse_document(ended.stdout)
        except ProbeError:
            raise ProbeError(Reason.JSON, "standard output is not JSON") from None
        for check in self._checks:
            _judge_check(check, document)
        for name, each in self._values:
            _judge_value(name, each, document)


def _judge_check(check: JsonCheck, document: object) -> None:
    value = look_up(document, check.path)
    if not check.condition.holds(value):
        detail = f"{check.text} is {show(value)}, expected {check.condition.expected}"
        raise ProbeError(Reason.JSON, detail)


def _judge_value(name: str, wanted: CommandValue, document: object) -> None:
    number = _number(document, wanted)
    if number is None:
        value = look_up(document, parse_path(wanted.path))
        detail = f"{name}: {wanted.path} is {show(value)}, expected a number"
        raise ProbeError(Reason.JSON, detail)
    if wanted.min is not None and number < wanted.min:
        detail = f"{name} is {number:g}, expected at least {wanted.min:g}"
        raise ProbeError(Reason.JSON, detail)
    if wanted.max is not None and number > wanted.max:
        detail = f"{name} is {number:g}, expected at most {wanted.max:g}"
        raise ProbeError(Reason.JSON, detail)


def _number(document: object, wanted: CommandValue) -> float | None:
    value = look_up(document, parse_path(wanted.path))
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = round(value * wanted.scale, _DIGITS)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _plain(value: str | Secret) -> str:
    return value.reveal() if isinstance(value, Secret) else value
