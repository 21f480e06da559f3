from typing import Final, final

MEMORY: Final[int]
CPU: Final[int]
THREADS: Final[int]
DESCRIPTORS: Final[int]
CONNECTIONS: Final[int]
PEAK: Final[int]
SWITCHES: Final[int]
RESET_PEAK: Final[int]
GROUP_MEMORY: Final[int]
GROUP_CPU: Final[int]
GROUP_TASKS: Final[int]
LIVE: Final[int]
ZOMBIE: Final[int]
LEADER_GONE: Final[int]
GONE: Final[int]

def counts_descriptors() -> bool: ...

@final
class Sampler:
    def __new__(cls, keep: int) -> Sampler: ...
    def add(self, pid: int) -> tuple[int, int]: ...
    def attach(
        self, place: int, memory: int, stat: int, cpu: int, tasks: int, cpu_unit: int
    ) -> None: ...
    def bound(
        self,
        place: int,
        memory_before: int,
        memory: int,
        threads_before: int,
        threads: int,
        descriptors_before: int,
        descriptors: int,
        connections: int,
    ) -> None: ...
    def remove(self, place: int) -> None: ...
    def sample(self, what: int) -> list[int]: ...
    def sample_one(self, place: int, what: int) -> None: ...
    def read(
        self, place: int
    ) -> tuple[int, int, int, int, int, int, int, int, int, int, int, int, int, int, int]: ...
    def facts(self) -> tuple[int, int, int, int, int]: ...
