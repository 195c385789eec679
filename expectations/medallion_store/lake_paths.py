"""Where everything is in the lake: the one place that spells its paths."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LakePaths:
    """Paths of one dataset below a lake root: a local folder or an abfss:// URI."""

    root: str
    dataset: str

    def _at(self, *parts: str) -> str:
        return "/".join((self.root.rstrip("/"), *parts))

    @property
    def bronze(self) -> str:
        """Delta: every Kafka record, byte-exact, with its verdict."""
        return self._at("bronze", self.dataset)

    @property
    def silver(self) -> str:
        """Delta: accepted versions, clean and typed."""
        return self._at("silver", self.dataset)

    @property
    def quarantine(self) -> str:
        """Delta: late and rejected records, raw, with reasons."""
        return self._at("quarantine", self.dataset)

    @property
    def ledger(self) -> str:
        """Delta: one row per micro-batch, counts that must balance."""
        return self._at("ledger", self.dataset)

    @property
    def progress(self) -> str:
        """Delta: lag and rates of batches with data."""
        return self._at("ledger", f"{self.dataset}_progress")

    @property
    def heartbeat(self) -> str:
        """JSON file, rewritten every 15 s by the running stream."""
        return self._at("ledger", f"{self.dataset}_heartbeat.json")

    def contract(self, contract_id: str) -> str:
        """JSON file beside the ledger: the contracts of that id, whole; see `contract_store`."""
        return self._at("ledger", f"{self.dataset}_contracts/{contract_id}.json")

    @property
    def checkpoint(self) -> str:
        """Folder: Spark's checkpoint of the stream."""
        return self._at("checkpoints", f"{self.dataset}_stream")

    @property
    def control(self) -> str:
        """Folder: request, lease and failure files between the stream and its operators."""
        return self._at("control", self.dataset)

    @property
    def stop_request(self) -> str:
        """JSON file: asks the stream to exit 0 after the batch under way."""
        return f"{self.control}/stop_request.json"

    @property
    def lease(self) -> str:
        """JSON file: who may write silver, with a heartbeat."""
        return f"{self.control}/silver_lease.json"

    @property
    def failure(self) -> str:
        """JSON file: the batch that failed three times, and why."""
        return f"{self.control}/failure.json"

    @property
    def hang(self) -> str:
        """JSON file: the last micro-batch that hung and ended its driver."""
        return f"{self.control}/hang.json"

    @property
    def recover_request(self) -> str:
        """JSON file: asks the next driver to go on from the ledger, as the checkpoint is lost."""
        return f"{self.control}/recover_request.json"

    @property
    def other_log(self) -> str:
        """JSON file: the logs that the stream found behind its topics instead of those it had read."""
        return f"{self.control}/other_log.json"

    @property
    def accept_log_request(self) -> str:
        """JSON file: those of `other_log` that a person has accepted."""
        return f"{self.control}/accept_log.json"

    @property
    def stream_driver(self) -> str:
        """JSON file: which driver on the cluster runs the stream; survives Airflow."""
        return f"{self.control}/stream_driver.json"
