"""The sections of a page, each made of what a run folder holds and empty where it holds nothing of the kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from . import pictures, plots, scores, tables, words
from .drawing import svg
from .markup import Markup, element, void
from .record import Record, branch, flat, number, text

SIGNS = {
    "healthy": "M3 8.5 6.5 12 13 4.5",
    "warning": "M8 3v6M8 12v.6",
    "collapse": "M4 4l8 8M12 4l-8 8",
    "unknown": "M4 8h8",
}
SPHERE = "M10 1a9 9 0 100 18 9 9 0 000-18M1 10c0 4 18 4 18 0M10 1c-5 0-5 18 0 18M3 3l14 14"
ABOUT = {
    "figures": "Each number is shown with its interval, and beside it the same measurement where nothing was learned "
    "or everything is known.",
    "episodes": "The model sees the picture of the goal, plans in its latent space, acts and plans again. ",
    "ring": "The ring marks the goal, the dots where the agent has been; a frame appears once the goal is reached.",
    "frame": "A frame appears once the goal is reached.",
    "plan": "Share of goals that planning with the learned model reaches at any step of an episode.",
    "distilled": "A network that learned what the planner does acts in one forward pass and plans nothing. Its goals "
    "are the planner's, which are not those that it learned on.",
    "probes": "A simple model reads the frozen representation. What it scores on an untrained encoder and on the raw "
    "input says how much of that was learned.",
    "validation": "Recorded episodes alone, before anything moves: whether the model tells the recorded actions from "
    "others, keeps track of the state, and has plans that arrive in its own rollouts. Only acting shows whether goals "
    "are reached.",
    "expectations": "Small predictors say how wrong the next latent will be, on episodes of fresh seeds. Surprise is "
    "its error in units of that, at impossible twins against the possible ones.",
    "training": "Lines are running medians, bands hold the middle eight tenths of the steps.",
    "diagnostics": "A falling energy proves nothing: it also falls when all representations become equal. These show "
    "whether they did.",
}
PROVENANCE = ("command", "sha256", "commit", "version", "python", "torch", "device", "threads", "processes", "date")
NOT_SETTINGS = {*PROVENANCE, "versions", "machine", "started", "created", "recipe"}


def name(record: Record) -> str:
    """What the run is called: its recipe, or else its folder."""
    return text(record.report.get("recipe")) or text(record.run.get("recipe")) or record.folder.resolve().name


def header(record: Record) -> Markup:
    """Name, verdict, what was learned in one sentence, and what a reader asks first; what could not be read."""
    verdict = record.verdict or text(record.report.get("verdict"))
    tone = scores.tone(verdict)
    said = f"{verdict[:1].upper()}{verdict[1:]}" or "Not examined"
    notes = [element("p", note) for note in record.notes]
    facts = (element("div", element("dt", key), element("dd", value)) for key, value in _facts(record) if value)
    return element(
        "header",
        element("p", _icon(SPHERE, 20, 1.4), "Armillary run report", class_="eyebrow"),
        element(
            "div",
            element("h1", name(record)),
            element("span", _icon(SIGNS[tone], 16, 2.2), said, class_=f"badge {tone}"),
            class_="title",
        ),
        element("p", scores.summary(record), class_="lead"),
        element("dl", *facts, class_="facts"),
        element("div", *notes, class_="note warning", role="note") if notes else Markup(""),
    )


def _icon(path: str, size: int, stroke: float) -> Markup:
    drawn = element("path", d=path, fill="none", stroke="currentColor", stroke_width=f"{stroke:g}")
    return element("svg", drawn, viewBox=f"0 0 {size} {size}", aria_hidden="true")


def _facts(record: Record) -> list[tuple[str, str]]:
    """What a reader asks first of a run."""
    training = branch(record.report, "training")
    seconds = number(branch(record.report, "seconds").get("total")) or number(training.get("seconds"))
    stated, commit = _first(record, "date", "started", "created"), _first(record, "commit")
    method = text(record.report.get("method")) or text(record.run.get("method"))
    return [
        ("Method", method),
        ("Date", stated[:16].replace("T", " ")) if stated else ("Date of run.json", record.begun),
        ("Duration", words.duration(seconds) if seconds else ""),
        ("Machine", _machine(record)),
        ("Weights", words.parameters(number(training.get("parameters"))) if training.get("parameters") else ""),
        ("Steps", words.count(number(training.get("steps"))) if training.get("steps") else ""),
        ("Seed", _first(record, "seed")),
        ("Commit", commit[:10] + ("-dirty" if commit.endswith("-dirty") else "")),
    ]


def _machine(record: Record) -> str:
    """The machine in a few words: what computes, and how much of it."""
    machine = branch(record.report, "machine") or branch(record.run, "machine")
    named = [text(machine.get(key)) for key in ("gpu", "cpu", "name", "processor", "device") if machine.get(key)]
    cores = text(machine.get("cores"))
    return ", ".join([*named[:1], *([f"{cores} cores"] if cores else [])]) or _first(record, "machine", "device")


def figures(record: Record) -> Markup:
    """Every measured number with its interval, floors and ceilings."""
    report = record.report
    goals = [
        replace(plan, name=f"Goals reached, {plan.name[:1].lower()}{plan.name[1:]}") for plan in scores.plans(report)
    ]
    every = [*scores.probes(report), *scores.rollouts(report), *goals]
    if every:
        return _section("Figures", ABOUT["figures"], tables.figures(every))
    if not record.report:
        command = element("span", "armillary probe", class_="code")
        said = element("p", "There are no measurements here; ", command, " makes them.")
        return element("div", said, class_="note unknown", role="note")
    return Markup("")


def episodes(record: Record) -> Markup:
    """Planned episodes as animations side by side, as stills on paper and for readers who want no motion."""
    if record.film is None:
        return Markup("")
    animations = pictures.animations(record.film)
    figures = [_episode(record, i, gif, shown) for i, (shown, gif) in enumerate(animations)]
    columns = next((n for n in (3, 4, 2) if len(figures) % n == 0), 3)
    grid = element("div", *figures, class_="episodes", style=f"--columns:{columns}")
    about = ABOUT["episodes"] + ABOUT["ring" if record.film.path is not None else "frame"]
    return _section("Planned episodes", about, grid)


def _episode(record: Record, i: int, gif: bytes, shown: pictures.Episode) -> Markup:
    assert record.film is not None
    task = words.named(record.film.task[i]) or f"Episode {i + 1}"
    outcome, verdict = "outcome unknown", Markup("")
    if record.film.success is not None:
        reached = bool(record.film.success[i])
        at = f" at step {record.film.first[i]}" if reached and record.film.first[i] >= 0 else ""
        outcome = f"goal reached{at}" if reached else "goal not reached"
        verdict = element("span", f"{'✓' if reached else '✕'} {outcome}", class_="yes" if reached else "no")
    last = pictures.picture(shown, len(shown.frames) - 1)
    size = {"width": str(last.width), "height": str(last.height)}
    parts = [
        void("img", src=pictures.data_uri("gif", gif), alt=f"{task}: animation, {outcome}", class_="moving", **size),
        void(
            "img",
            src=pictures.data_uri("png", pictures.png(last)),
            alt=f"{task}: last frame, {outcome}",
            class_="still",
            **size,
        ),
        element("figcaption", element("span", task), verdict),
    ]
    if shown.path is None and record.film.goal is not None:
        goal = void("img", src=pictures.data_uri("png", pictures.thumbnail(record.film.goal[i])), alt="the goal")
        parts.append(element("div", goal, "the goal", class_="goal"))
    return element("figure", *parts)


def plans(record: Record) -> Markup:
    """How many goals planning reaches, and the harness it was measured in."""
    plans = scores.plans(record.report)
    if not plans:
        return Markup("")
    harness = [(words.named(name), words.said(value)) for name, value in flat(branch(record.report, "plan", "harness"))]
    box = element("div", element("h3", "How it was measured"), tables.pairs(harness), class_="harness")
    return _section("Planning", ABOUT["plan"], tables.planned(plans), box if harness else Markup(""))


def distilled(record: Record) -> Markup:
    """What a policy that was distilled from plans reaches without planning, beside its planner."""
    found = scores.distilled(record.report)
    if not found:
        return Markup("")
    alone = branch(record.report, "distilled", "alone")
    said = scores.times(alone.get("policy_seconds_per_action"), alone.get("planner_seconds_per_action"))
    note = element("p", f"In a single world an action takes {said}.", class_="small quiet") if said else Markup("")
    harness = flat(branch(record.report, "distilled", "harness"))
    rows = [(words.named(name), words.said(value)) for name, value in harness]
    box = element("div", element("h3", "How it was measured"), tables.pairs(rows), class_="harness")
    return _section("Distilled policy", ABOUT["distilled"], tables.distilled(found), note, box if rows else Markup(""))


def probes(record: Record) -> Markup:
    """What can be read from the representation, as bars beside the floors."""
    probes = scores.probes(record.report)
    if not probes:
        return Markup("")
    return _section("Probes", ABOUT["probes"], tables.probed(probes))


def rollout(record: Record) -> Markup:
    """How the error of open-loop prediction grows."""
    chart = plots.rollout(record)
    if chart is None:
        return Markup("")
    explained = (
        element("p", "The model predicts from its own predictions, given the true actions, and is compared with what "
                "the encoder sees. 1 is the error of always predicting the mean."),
        element("p", "Copy-last keeps the first latent. Shuffled actions come from other episodes: the gap to the "
                "model is what it knows about actions."),
    )  # fmt: skip
    return _section(chart.title, "", _beside(_chart("rollout", chart, 500.0, 280.0, titled=False), *explained))


def validation(record: Record) -> Markup:
    """What recorded episodes tell of planning with the model: the verdict by its rules, and the curves behind it."""
    said = text(branch(record.report, "rollout").get("verdict"))
    charts = plots.validation(record)
    if not said and not charts:
        return Markup("")
    verdict = element("p", words.sentence(said)) if said else Markup("")
    return _section("Offline validation", ABOUT["validation"], verdict, _charts("validation", charts))


def expectations(record: Record) -> Markup:
    """How far a world model can be trusted, and what surprises it."""
    found = scores.expectations(record.report)
    if not found:
        return Markup("")
    details = [(element("span", score.settings, class_="small quiet"),) for score in found]
    shown = tables.bars(found, ("Figure", "Beside it"), details)
    return _section("Uncertainty and surprise", ABOUT["expectations"], shown)


def training(record: Record) -> Markup:
    """Energy, terms and learning rate over the steps."""
    charts = plots.training(record)
    return _section("Training", ABOUT["training"], _charts("training", charts)) if charts else Markup("")


def diagnostics(record: Record) -> Markup:
    """Whether the representation is healthy: statistics over the steps, and its spectrum now."""
    charts, spectrum, history = plots.diagnostics(record), plots.spectrum(record), plots.history(record)
    if not charts and spectrum is None:
        return Markup("")
    parts = [_alarms(record), _charts("diagnostics", [*charts, *([history] if history else [])])]
    if spectrum is not None:
        explained = element("p", "Variance of the representation along each of its principal directions. A curve that "
                            "drops at once belongs to a representation that uses few of them.")  # fmt: skip
        chart = _chart("spectrum", spectrum, 500.0, 280.0)
        parts.append(element("div", _beside(chart, explained), style="margin-top:44px"))
    return _section("Health of the representation", ABOUT["diagnostics"], *parts)


def _alarms(record: Record) -> Markup:
    """What the radar raised while training, each with what usually causes it."""
    told = []
    for alarm in record.alarms:
        step, since = number(alarm.get("step")), number(alarm.get("since"))
        name, causes = text(alarm.get("title")), alarm.get("causes")
        if not name or step is None or since is None or not isinstance(causes, list):
            continue
        title = f"{name[:1].upper()}{name[1:]} since step {since:,.0f}"
        sure = number(alarm.get("sure"))
        said = f"Seen at step {step:,.0f}" + (f", {sure:.0%} sure: " if sure is not None else ": ")
        usual = element("ul", *(element("li", text(cause)) for cause in causes))
        seen = element("p", said, text(alarm.get("seen")), ". Usual causes:")
        told.append(element("div", element("h3", title), seen, usual))
    return element("div", *told, class_="note warning", role="note") if told else Markup("")


def settings(record: Record) -> Markup:
    """Every setting of the run, folded away."""
    values = branch(record.run, "values") or branch(record.run, "config")
    values = values or {name: value for name, value in record.run.items() if name not in NOT_SETTINGS}
    if not values:
        return Markup("")
    plain = {name: value for name, value in values.items() if not isinstance(value, dict)}
    groups = {"": plain, **{name: value for name, value in values.items() if isinstance(value, dict)}}
    parts = []
    for name, group in groups.items():
        rows = [(key, words.said(value)) for key, value in flat(group)]
        parts += [element("h3", name)] if name and rows else []
        parts += [tables.pairs(rows, code=True)] if rows else []
    return _section("Configuration", "", element("details", element("summary", "All settings of this run"), *parts))


def provenance(record: Record) -> Markup:
    """What made this run: command, commit, versions, machine, time."""
    rows: dict[str, str] = {}
    for key in PROVENANCE:
        rows[words.named(key)] = _first(record, key)
    for part in (branch(record.run, "versions"), branch(record.run, "machine"), branch(record.report, "machine")):
        rows.update({words.named(name): words.said(value) for name, value in flat(part)})
    training, seconds = branch(record.report, "training"), branch(record.report, "seconds")
    for name in ("samples", "cpu_seconds", "skipped"):
        value = number(training.get(name))
        rows[words.named(name)] = words.duration(value) if name == "cpu_seconds" else words.count(value)
    spent = [f"{name} {words.duration(number(value))}" for name, value in seconds.items() if number(value) is not None]
    rows["Time spent"] = ", ".join(spent)
    known = [(name, value) for name, value in rows.items() if value and value != words.NONE]
    return _section("Provenance", "", tables.pairs(known)) if known else Markup("")


def _section(title: str, about: str, *parts: Markup) -> Markup:
    said = element("p", about, class_="about") if about else Markup("")
    return element("section", element("h2", title), said, *parts)


def _charts(name: str, charts: Sequence[plots.Chart]) -> Markup:
    return element("div", *(_chart(f"{name}{i}", chart) for i, chart in enumerate(charts)), class_="charts")


def _chart(name: str, chart: plots.Chart, width: float = 460.0, height: float = 230.0, titled: bool = True) -> Markup:
    value = element("span", chart.value, class_="now") if chart.value else ""
    title = element("div", chart.title, " ", value) if titled else ""
    remark = element("span", chart.remark, class_="small")
    return element("figure", element("figcaption", title, remark), svg(name, chart, width, height))


def _beside(chart: Markup, *explained: Markup) -> Markup:
    return element("div", chart, element("div", *explained), class_="alone")


def _first(record: Record, *names: str) -> str:
    """The first of `names` that the run or its report states."""
    found = (text(part.get(name)) for name in names for part in (record.run, record.report))
    return next(filter(None, found), "")
