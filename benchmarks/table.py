"""The gates table: a line of text, Markdown, JSON, and a plot."""
import dataclasses, json


def number(value):
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def unit(result):
    return result.unit if result.unit in ("", "x") else " " + result.unit


def shown(result):
    return number(result.value) + unit(result)


def spread(result):
    return "" if result.low is None else f"{number(result.low)} to {number(result.high)}"


def limit(result):
    ends = ((">=", result.at_least), ("<=", result.at_most))
    return " and ".join(f"{sign} {number(end)}{unit(result)}" for sign, end in ends if end is not None)


def line(result):
    judged = f"  [{limit(result)}: {result.verdict}]" if result.verdict else ""
    return f"{result.figure}: {shown(result)} ({spread(result) or 'once'}){judged}; {result.detail}"


def markdown(about, results):
    lines = [f"Commit {about['commit']}, {about['began']}, {about['cores']} cores, Linux {about['kernel']}; "
             f"medians of {about['rounds']} rounds in turns, quartiles.", "",
             "| row | figure | median | quartiles | gate | verdict | absolute | bottleneck |", "|---|---|---|---|---|---|---|---|"]
    title = None
    for result in results:
        lines.append(f"| {result.title if result.title != title else ''} | {result.figure} | {shown(result)} | {spread(result)} | {limit(result)} "
                     f"| {result.verdict} | {result.detail} | {result.bottleneck} |")
        title = result.title
    return "\n".join(lines) + "\n"


def write(folder, about, results):
    with open(f"{folder}/gates.md", "w") as file:
        file.write(markdown(about, results))
    with open(f"{folder}/gates.json", "w") as file:
        json.dump({"about": about, "results": [dataclasses.asdict(r) | {"verdict": r.verdict} for r in results]}, file, indent=1)


def plot(folder, about, results):
    """Each gate as the distance of its figure from its limit, on a scale of factors: right of the line is met."""
    try:
        import matplotlib
    except ImportError:
        print("no matplotlib: no plot")
        return
    matplotlib.use("svg")
    from matplotlib import pyplot
    gates = [r for r in results if r.verdict and r.value > 0]
    if not gates:
        return

    def margin(result, value):
        return value / result.at_least if result.at_least is not None else result.at_most / max(value, 1e-9)
    figure, axes = pyplot.subplots(figsize=(11, 0.32 * len(gates) + 1.4))
    for index, result in enumerate(gates):
        middle = margin(result, result.value)
        color = "#2a7f4f" if result.verdict == "met" else "#c0392b"
        axes.barh(index, middle - 1, left=1, color=color, height=0.6)
        if result.low is not None:
            ends = sorted(margin(result, value) for value in (result.low, result.high))
            axes.plot(ends, [index, index], color="black", linewidth=1.2)
        words = f"{shown(result)} ({limit(result)})"
        axes.annotate(words, (max(middle, 1), index), xytext=(6, 0), textcoords="offset points", va="center", fontsize=8)
    axes.set_yticks(range(len(gates)), [f"{r.title}: {r.figure}" for r in gates], fontsize=8)
    axes.invert_yaxis()
    axes.set_xscale("log", base=2)
    axes.set_xlim(min(0.4, *axes.get_xlim()), axes.get_xlim()[1] * 3)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}x")
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xlabel("inside the gate by this factor (bars: median of paired rounds, lines: quartiles)", fontsize=8)
    axes.set_title(f"Gates at {about['commit']}, {about['rounds']} rounds", fontsize=10)
    figure.tight_layout()
    figure.savefig(f"{folder}/gates.svg", metadata={"Date": None})
    print(f"plot: {folder}/gates.svg")
