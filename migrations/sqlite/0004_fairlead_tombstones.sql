CREATE TABLE IF NOT EXISTS fairlead_tombstones (
  name_key text NOT NULL,
  generation integer NOT NULL,
  created_ms integer NOT NULL,
  PRIMARY KEY (name_key, generation)
);
