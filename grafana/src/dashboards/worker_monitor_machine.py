"""The panels about the machine, of `pictor-worker-monitor`."""

from typing import Any

import states
from panels import Draw, Look, Text, graph, timeline
from queries import worker_monitor as queries


def panels() -> list[Any]:
    return [*_machine(), *_agent()]


def _machine() -> list[Any]:
    return [
        graph(
            Text(
                "CPU",
                "All cores, and the busiest. All at 100 % while GPUs wait: the CPU holds them back, or another "
                "program runs.",
            ),
            Look("percentunit", decimals=0, minimum=0, maximum=1),
            queries.CPU,
            (8, 8),
        ),
        graph(
            Text(
                "CPU temperature",
                "Every sensor. Above 90 °C: clean the cooler; the machine may switch itself off. Empty: it has no "
                "sensors.",
            ),
            Look("celsius", decimals=0, minimum=0),
            queries.CPU_TEMPERATURE,
            (8, 8),
        ),
        graph(
            Text(
                "Load", "Processes that run or wait. Far above the number of cores: something else uses this machine."
            ),
            Look("none", decimals=2, minimum=0),
            queries.LOAD,
            (8, 8),
        ),
        graph(
            Text(
                "RAM",
                "Used, below what the machine has. Swap in use: scenes are too large for it, and rendering gets slow.",
            ),
            Look("bytes", decimals=1, minimum=0),
            queries.RAM,
            (8, 8),
            Draw(limits_pattern="RAM it has"),
        ),
        graph(
            Text("Disk free", "Free share of each disk. Below 10 %: clear the agent's cache or give it a larger disk."),
            Look("percentunit", decimals=0, minimum=0, maximum=1, steps=[(0.1, states.GOOD)], base=states.BAD),
            queries.DISK,
            (8, 8),
        ),
        graph(
            Text(
                "Network",
                "Bytes a second, by device. Uploads at the line's limit while slots wait: frames are large; render "
                "more a task.",
            ),
            Look("Bps", decimals=1, minimum=0),
            queries.NETWORK,
            (8, 8),
        ),
    ]


def _agent() -> list[Any]:
    return [
        graph(
            Text("Agent CPU", "Of one core. Above 5 %: report it, with `pictor-agent doctor --json`."),
            Look("percentunit", decimals=2, minimum=0),
            queries.AGENT_CPU,
            (6, 7),
        ),
        graph(
            Text("Agent memory", "Resident memory of the agent itself. Grows without end: restart it, and report it."),
            Look("bytes", decimals=1, minimum=0),
            queries.AGENT_MEMORY,
            (6, 7),
        ),
        timeline(
            Text(
                "Collectors",
                "Red: the agent could not measure that part, and its panels are empty; the agent's log says why.",
            ),
            Look("none", mappings=(states.HEALTH,)),
            queries.COLLECTORS,
            (12, 7),
        ),
    ]
