CREATE TABLE IF NOT EXISTS fairlead_hand (
  name_key text NOT NULL,
  wanted text NOT NULL,
  at_ms integer NOT NULL,
  PRIMARY KEY (name_key)
);
