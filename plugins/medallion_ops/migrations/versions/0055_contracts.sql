-- The contracts that gold was brought forward by, whole, and the breaking changes that a person accepted.
-- See medallion_store.contract_store.

CREATE TABLE audit.contracts (
    dataset text NOT NULL,
    contract_id text NOT NULL,         -- hash of the files
    files jsonb NOT NULL,              -- {name: text}
    in_force_since timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (dataset, contract_id)
);
COMMENT ON TABLE audit.contracts IS 'Contracts of each dataset; the newest in_force_since is that of gold now';

CREATE TABLE audit.accepted_changes (
    dataset text NOT NULL,
    contract_id text NOT NULL,         -- of the contracts that bring the change
    change text NOT NULL,              -- its name, e.g. gold.customers.gender removed
    accepted_by text NOT NULL,
    accepted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (dataset, contract_id, change)
);
COMMENT ON TABLE audit.accepted_changes IS 'Changes of contracts that break readers or producers, accepted by name';
