"""Names and e-mail addresses for customers whose source has none."""

from __future__ import annotations

import unicodedata
from hashlib import blake2b
from typing import NamedTuple

from faker import Faker

_LOCALES = ("en_US", "de_DE", "es_ES", "fr_FR", "pl_PL")  # names beyond ASCII, as customers have them
_POOL = 1_000
_DOMAINS = ("example.com", "example.net", "example.org")  # reserved: no mail ever reaches a person


class Person(NamedTuple):
    """A made-up person."""

    first_name: str
    last_name: str
    email: str


class People:
    """Gives each customer id a person: always the same one for the same seed.

    Faker makes the pools of names; picking from them by a hash of the id is what makes a customer's name
    independent of the order and number of customers, and costs microseconds instead of Faker's own seeding.
    """

    def __init__(self, seed: int) -> None:
        faker = Faker(_LOCALES)
        faker.seed_instance(seed)
        self._key = seed.to_bytes(16, "big", signed=True)
        self._female = [faker.first_name_female() for _ in range(_POOL)]
        self._male = [faker.first_name_male() for _ in range(_POOL)]
        self._any = self._female + self._male
        self._last = [faker.last_name() for _ in range(_POOL)]

    def person(self, customer_id: str, gender: str) -> Person:
        """The person of that id; `gender` (Female, Male, anything else) chooses among first names."""
        digest = blake2b(customer_id.encode(), key=self._key, digest_size=12).digest()
        firsts = {"Female": self._female, "Male": self._male}.get(gender, self._any)
        first = firsts[int.from_bytes(digest[:4], "big") % len(firsts)]
        last = self._last[int.from_bytes(digest[4:8], "big") % _POOL]
        domain = _DOMAINS[digest[8] % len(_DOMAINS)]
        return Person(first, last, f"{_ascii(first)}.{_ascii(last)}.{digest[9:].hex()}@{domain}")


def _ascii(name: str) -> str:
    """The name as the local part of an address has it: lower-case ASCII letters."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return "".join(letter for letter in plain.lower() if letter.isalnum())
