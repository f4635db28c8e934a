"""Tables out of measured lines: figures, figures against their reach, packets in a burst. Medians over the rounds of a run."""

import statistics

FIGURES = {
    "held": ("held",),
    "Mbit/s": ("mbit_s",),
    "CPU %": ("server", "cpu_pct"),
    "ms/Gbit": ("server", "cpu_ms_per_gigabit"),
    "KiB/session": ("server", "rss_kb_per_session"),
    "loss %": ("loss_pct",),
    "pacing p50": ("pacing_ms", "p50"),
    "pacing p99": ("pacing_ms", "p99"),
    "start p50": ("setup_to_first_rtp_ms", "p50"),
    "start p99": ("setup_to_first_rtp_ms", "p99"),
    "generator %": ("generator_cpu_pct",),
}
SINGLE = {
    "lost packets of each further branch, the most": ("branches", "worst_further_lost"),
    "ms/Gbit while each flow went to one place": ("branches", "alone_cpu_ms_per_gigabit"),
    "ms/Gbit of further branches alone": ("branches", "further_cpu_ms_per_gigabit"),
    "the same × bare": ("further × bare",),
    "binding update to first packet, p50 (ms)": ("moves", "update_to_first_packet_ms", "p50"),
    "… p99 (ms)": ("moves", "update_to_first_packet_ms", "p99"),
    "… the longest (ms)": ("moves", "update_to_first_packet_ms", "max"),
    "… updates": ("moves", "update_to_first_packet_ms", "n"),
    "binding update to its answer, p99 (ms)": ("moves", "update_to_answer_ms", "p99"),
    "processor time of a second (ms)": ("idle_cpu_ms_per_s",),
    "from exec to ready (ms)": ("ready_ms",),
    "resident memory (MiB)": ("resident_mib",),
}
BURSTS = ("pacing-50", "udp-400", "udp-800", "udp-1500", "tcp-200", "gst-50", "gst-tcp-50")
ENDS = [1 << power for power in range(9)]
GROWTH = ("udp-200", "udp-400", "udp-800", "udp-1500")
# Milliseconds by which what is to be a floor may be late.
MAX_LATE = 10
UDP = ("udp-100", "udp-200", "udp-400", "udp-400-titles", "udp-800")


def at(line, path):
    for key in path:
        line = line.get(key) if isinstance(line, dict) else None
    return line


def figures(line):
    """Every figure that a line has, by name, with those that are worked out of others."""
    found = {name: at(line, path) for name, path in FIGURES.items()}
    bare = line.get("bare_cpu_ms_per_gigabit")
    if line["case"].startswith(("bare", "film")):
        found["ms/Gbit"], found["CPU %"] = line["cpu_ms_per_gigabit"], line["cpu_pct"]
        found["messages/Gbit"], found["late p99"] = line.get("messages_per_gigabit"), line.get("late_ms_p99")
        found["refused"] = line.get("refused")
    if bare and found["ms/Gbit"] and line.get("transport") == "udp" and not line["case"].startswith("gst"):
        found["× bare"] = found["ms/Gbit"] / bare
    lost = at(line, ("branches", "lost"))
    if lost:
        line = {**line, "branches": {**line["branches"], "worst_further_lost": max(lost[1:])}}
        if bare and at(line, ("branches", "further_cpu_ms_per_gigabit")) is not None:
            line["further × bare"] = line["branches"]["further_cpu_ms_per_gigabit"] / bare
    found.update({name: at(line, path) for name, path in SINGLE.items()})
    if line.get("asked") == 1 and at(line, ("server", "cpu_running_s")) is not None:
        # So little that it must not be counted in ticks of 10 ms.
        found["CPU %"] = 100 * line["server"]["cpu_running_s"] / line["window_s"]
    if found["CPU %"] and found["held"]:
        found["CPU % per session"] = found["CPU %"] / found["held"]
    return {name: value for name, value in found.items() if value is not None}


def medians(lines):
    """{case: {figure: median}}, cases in the order in which they were first measured; `rounds` is a figure too."""
    rows = {}
    for line in lines:
        rows.setdefault(line["case"], []).append(figures(line))
    middle = {}
    for case, found in rows.items():
        names = dict.fromkeys(name for row in found for name in row)
        middle[case] = {name: statistics.median(row[name] for row in found if name in row) for name in names}
        middle[case]["rounds"] = len(found)
    for case, row in middle.items():
        floor = middle.get(f"film-{case.split('-')[1]}" if case.startswith("udp-") else "", {})
        # One that is late itself, or does not send all, is no floor.
        if floor.get("late p99", MAX_LATE + 1) <= MAX_LATE and floor.get("refused") == 0 and "ms/Gbit" in row:
            row["× film"] = row["ms/Gbit"] / floor["ms/Gbit"]
    reference = middle.get("udp-100", {}).get("ms/Gbit")
    for case, row in middle.items():
        if case.startswith("gst") and reference and "ms/Gbit" in row:
            row["× udp-100"] = row["ms/Gbit"] / reference
    return middle


def shown(value):
    return "" if value is None else f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def markdown(head, rows):
    return ["| " + " | ".join(head) + " |", "|---" * len(head) + "|", *("| " + " | ".join(row) + " |" for row in rows)]


def figures_table(middle):
    """A row for each case that has such figures."""
    names = ["rounds", *list(FIGURES)[:4], "× bare", "× film", "× udp-100", "messages/Gbit", "late p99", *list(FIGURES)[4:]]
    rows = [(case, row) for case, row in middle.items() if "ms/Gbit" in row]
    names = [name for name in names if any(name in row for _, row in rows)]
    return markdown(["case", *names], [[case, *(shown(row.get(name)) for name in names)] for case, row in rows])


def single_table(middle):
    rows = [[case, name, shown(row[name]), str(row["rounds"])] for case, row in middle.items() for name in SINGLE if name in row]
    return markdown(["case", "figure", "median", "rounds"], rows)


def reach_table(middle):
    """What was to be reached, and what was measured of it; what was not measured says so."""

    def get(case, name):
        return middle.get(case, {}).get(name)

    def most(cases, name):
        values = [(get(case, name), case) for case in cases if get(case, name) is not None]
        return max(values) if values else (None, None)

    rows = []

    def row(what, reach, measured, is_met):
        rows.append([what, reach, "not measured" if measured is None else measured, "" if measured is None else "yes" if is_met else "**no**"])

    def limit(what, value, most_allowed, unit="", more=""):
        told = None if value is None else f"{shown(value)}{unit}{more}"
        row(what, f"≤ {most_allowed:g}{unit}", told, value is not None and value <= most_allowed)

    worst, case = most(UDP, "× bare")
    limit("CPU per gigabit over UDP, 100 to 800 sessions", worst, 1.4, " × bare", f" ({case})")
    gst = get("gst-100", "× udp-100")
    row("gst-rtsp-server's CPU per gigabit over ours, 100 sessions", "≥ 10 ×", gst and f"{shown(gst)} ×", gst and gst >= 10)
    held, lost, late = (get("udp-1500", figure) for figure in ("held", "loss %", "pacing p99"))
    told = None if held is None else f"{shown(held)} held, {shown(lost)} % lost, p99 {shown(late)} ms late"
    row("1500 sessions on one core", "all held, no loss, pacing p99 ≤ 10 ms", told, held == 1500 and lost == 0 and late <= 10)
    limit("pacing of 50 sessions, p50", get("pacing-50", "pacing p50"), 1, " ms")
    limit("pacing of 50 sessions, p99", get("pacing-50", "pacing p99"), 3, " ms")
    limit("SETUP to first packet, 100 sessions together, p99", get("together-100", "start p99"), 5, " ms")
    memory, case = most((*UDP, "udp-1500"), "KiB/session")
    limit("resident memory for a session", memory, 32, " KiB", f" ({case})")
    limit("200 sessions interleaved, CPU per gigabit", get("tcp-200", "ms/Gbit"), 300, " ms")
    limit("a second branch", get("branches-2", "the same × bare"), 1.1, " × bare")
    limit("200 flows to 4 places, packets lost of one place", get("branches-4", "lost packets of each further branch, the most"), 0)
    limit("binding update to first packet under 500 sessions, p99", get("moves-500", "… p99 (ms)"), 2, " ms")
    row("two data cores", "≥ 1.7 × the sessions of one", None, False)
    idle = get("idle", "processor time of a second (ms)")
    limit("idle", None if idle is None else idle / 10, 0.1, " % CPU")
    limit("one session playing", get("one-session", "CPU %"), 0.1, " % CPU")
    # Where not all are held the core is full, and what it took says nothing of a session.
    whole = [case for case in GROWTH if get(case, "held") == int(case.split("-")[1])]
    costs = [get(case, "CPU % per session") for case in whole]
    grown = [100 * (cost / costs[0] - 1) for cost in costs[1:]] if len(costs) > 1 and all(costs) else None
    until = whole[-1].split("-")[1] if whole else None
    told = None if grown is None else f"{max(grown):+.0f} % at most, {grown[-1]:+.0f} % at {until}"
    row("what a session costs with 400 to 1500 sessions, against 200", "≤ +15 %", told, grown is not None and max(grown) <= 15 and whole[-1] == GROWTH[-1])
    few, many = ([get(f"start-{count}", name) for name in ("from exec to ready (ms)", "resident memory (MiB)")] for count in (10, 10_000))
    told = None if None in few + many else f"{shown(few[0])} ms and {shown(few[1])} MiB; {shown(many[0])} ms and {shown(many[1])} MiB"
    row("start and memory with 10 and with 10,000 titles", "measured", told, True)
    return markdown(["figure", "reach", "measured", "reached"], rows)


def bursts_table(lines):
    """How many of a track's bursts have so many packets at most, in percent; all rounds together."""
    rows = []
    for case in BURSTS:
        counts = [0] * len(ENDS)
        total = 0
        for line in lines:
            for name, count in (line.get("bursts") or {}).items() if line["case"] == case else ():
                total += count
                end = int(name.removeprefix("<="))
                counts = [held + count if end <= limit else held for held, limit in zip(counts, ENDS)]
        if total:
            rows.append([case, *(f"{100 * count / total:.4g}" for count in counts)])
    return markdown(["case", *(f"≤ {end}" for end in ENDS)], rows)


def document(lines):
    """All tables, with what machine and program they are of."""
    middle = medians(lines)
    of = ", ".join(dict.fromkeys(line["commit"] for line in lines))
    dates = sorted(line["date"] for line in lines)
    begun, ended = (date[:16].replace("T", " ") for date in (dates[0], dates[-1]))
    return [
        f"{lines[0]['machine']}; commit {of}; {begun} to {ended} UTC; medians of the rounds.",
        "",
        *figures_table(middle),
        "",
        *single_table(middle),
        "",
        "### Against the reach",
        "",
        *reach_table(middle),
        "",
        "### Packets in a burst",
        "",
        "Percent of the bursts of a track that have so many packets at most; packets less than 0.1 ms apart are one burst.",
        "",
        *bursts_table(lines),
    ]
