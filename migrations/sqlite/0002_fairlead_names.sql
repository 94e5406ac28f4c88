CREATE TABLE IF NOT EXISTS fairlead_names (
  name_key text NOT NULL,
  gen integer NOT NULL,
  claimed_inc integer NULL,
  seen_inc integer NULL,
  seen_ms integer NULL,
  touched_ms integer NOT NULL,
  PRIMARY KEY (name_key)
);
