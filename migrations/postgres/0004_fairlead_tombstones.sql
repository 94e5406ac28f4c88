CREATE TABLE IF NOT EXISTS fairlead_tombstones (
  name_key varchar(255) NOT NULL,
  generation bigint NOT NULL,
  created_ms bigint NOT NULL,
  PRIMARY KEY (name_key, generation)
);
