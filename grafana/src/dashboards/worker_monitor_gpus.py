"""The GPU panels of `pictor-worker-monitor`."""

from typing import Any

import states
from panels import Draw, Look, Text, bars, graph, organize, stat, table, timeline, unit
from queries import worker_monitor as queries

LIMITS = ".* (has|limit)|Limit: .*"


def panels() -> list[Any]:
    return [*_load(), *_speed(), *_other()]


def _load() -> list[Any]:
    return [
        graph(
            Text(
                "GPU utilisation",
                "Share of time with work on the GPU. Low while a slot renders: the scene loads, or Blender fell back "
                "to the CPU; see Health checks.",
            ),
            Look("percentunit", decimals=0, minimum=0, maximum=1),
            queries.UTILIZATION,
        ),
        graph(
            Text(
                "GPU memory",
                "Used, below what the card has. At the limit: scenes are too large for this card and their tasks fail.",
            ),
            Look("bytes", decimals=1, minimum=0),
            queries.MEMORY,
            draw=Draw(limits_pattern=LIMITS),
        ),
        graph(
            Text(
                "GPU temperature",
                "Every sensor, below the driver's limits (dashed). Near the slowdown limit: clean the cooler, look at "
                "the fans, lower the power limit.",
            ),
            Look("celsius", decimals=0, minimum=0),
            queries.TEMPERATURE,
            draw=Draw(limits_pattern=LIMITS),
        ),
        graph(
            Text(
                "GPU power",
                "What each card draws, below its limit (dashed). At the limit all the time is normal while rendering; "
                "far below it while rendering: heat or a weak power supply; see Throttling.",
            ),
            Look("watt", minimum=0),
            queries.POWER,
            draw=Draw(limits_pattern=LIMITS),
        ),
        bars(
            Text(
                "Margin to the limit",
                "How far the hottest sensor is below its limit now. Below 5 °C: it will slow down soon; cool it.",
            ),
            Look(
                "celsius",
                decimals=0,
                steps=[(0, states.WARN), (5, states.GOOD)],
                base=states.BAD,
                minimum=0,
                maximum=60,
            ),
            queries.MARGIN,
            (6, 8),
            name="GPU ${__field.labels.gpu}",
        ),
    ]


def _speed() -> list[Any]:
    return [
        graph(
            Text("GPU clocks", "Graphics and memory clock. Falls while rendering: see Throttling for the reason."),
            Look("hertz", decimals=2, minimum=0),
            queries.CLOCKS,
            (10, 8),
        ),
        graph(
            Text("GPU fans", "Share of full speed. At 100 %, or at 0 % while hot: a fan is worn or blocked."),
            Look("percentunit", decimals=0, minimum=0, maximum=1),
            queries.FANS,
            (8, 8),
        ),
        timeline(
            Text(
                "Throttling",
                "The gravest reason that held each GPU back. Yellow is the power limit and normal; orange and red are "
                "heat or power supply: cool it, or check its cables.",
            ),
            Look("none", mappings=(states.THROTTLE_CODE,)),
            queries.THROTTLE,
            (24, 6),
        ),
        timeline(
            Text(
                "P-state",
                "P0 is the fastest. Stays grey while a slot renders: the driver keeps it slow; restart the machine.",
            ),
            Look("none", mappings=(states.PERFORMANCE_STATE,)),
            queries.PERFORMANCE,
            (24, 6),
        ),
    ]


def _other() -> list[Any]:
    return [
        graph(
            Text(
                "Share of time throttled",
                "From the driver's own counters, by reason, of the GPU that has most of it. Thermal reasons above 0 cost "
                "earnings: see Economics.",
            ),
            Look("percentunit", decimals=0, minimum=0, maximum=1),
            queries.THROTTLED_SHARE,
        ),
        graph(
            Text(
                "GPU memory bus",
                "Share of time in which the card's memory was read or written. High with low utilisation: "
                "memory-bound scenes.",
            ),
            Look("percentunit", decimals=0, minimum=0, maximum=1),
            queries.MEMORY_BUS,
            (6, 8),
        ),
        graph(
            Text("Encoder and decoder", "Rendering uses neither. Above 0: another program uses this card."),
            Look("percentunit", decimals=0, minimum=0, maximum=1),
            queries.CODECS,
            (6, 8),
        ),
    ]


def faults() -> list[Any]:
    return [
        timeline(
            Text(
                "GPU answers",
                "Red: the card is lost or hung. Restart the machine; if it comes back red, reseat the card.",
            ),
            Look("none", mappings=(states.ANSWERS,)),
            queries.GPU_ANSWERS,
            (16, 5),
        ),
        stat(
            Text(
                "Recovery", "What the driver asks for to recover each GPU. Not none: do that when its task has ended."
            ),
            Look("none", mappings=(states.RECOVERY_ACTION,)),
            queries.RECOVERY,
            (8, 5),
        ),
        *_fault_tables(),
        graph(
            Text(
                "PCIe link",
                "Lanes and generation. Fewer than the slot has, while rendering: reseat the card or its riser. A low "
                "generation at idle is normal.",
            ),
            Look("none", decimals=0, minimum=0),
            queries.PCIE,
        ),
        graph(
            Text("PCIe replays", "Packets sent again, a second. Above 0 for long: a bad riser, cable or slot."),
            Look("cps", decimals=2, minimum=0),
            queries.PCIE_REPLAYS,
        ),
    ]


def _fault_tables() -> list[Any]:
    xid = table(
        Text(
            "Xid errors",
            "The last time of each of the driver's error codes. 79 (fell off the bus), 48, 63, 64, 94, 95 (memory): "
            "reset the card, and replace it when they return. No rows: none since the agent started.",
        ),
        Look("string"),
        queries.XID,
        (8, 7),
        sort=("Last seen", True),
    )
    xid.with_transformation(
        organize(["gpu", "xid", "Value"], {"gpu": "GPU", "xid": "Xid", "Value": "Last seen"}, ["Time"])
    )
    xid.override_by_name("Last seen", unit("dateTimeFromNow"))
    ecc = table(
        Text(
            "ECC errors",
            "Last values of the cumulative counters. Uncorrected above 0: reset the GPU; growing: replace it. No "
            "rows: this card has no ECC.",
        ),
        Look("string"),
        queries.ECC,
        (8, 7),
        sort=("Errors", True),
    )
    ecc.with_transformation(
        organize(["gpu", "severity", "scope", "Value"], {"gpu": "GPU", "Value": "Errors"}, ["Time"])
    )
    ecc.override_by_name("Errors", unit("none", 0))
    remapped = table(
        Text(
            "Remapped rows and retired pages",
            "Memory that the card replaced by spare. Uncorrected or double-bit ones grow: plan its replacement. No "
            "rows: this card does not report them.",
        ),
        Look("string"),
        queries.REMAPPED,
        (8, 7),
    )
    remapped.with_transformation(
        organize(["gpu", "kind", "cause", "Value"], {"gpu": "GPU", "Value": "Count"}, ["Time"])
    )
    remapped.override_by_name("Count", unit("none", 0))
    return [xid, ecc, remapped]
