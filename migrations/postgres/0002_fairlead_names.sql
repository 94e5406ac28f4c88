CREATE TABLE IF NOT EXISTS fairlead_names (
  name_key varchar(255) NOT NULL,
  gen bigint NOT NULL,
  claimed_inc bigint NULL,
  seen_inc bigint NULL,
  seen_ms bigint NULL,
  touched_ms bigint NOT NULL,
  PRIMARY KEY (name_key)
);
