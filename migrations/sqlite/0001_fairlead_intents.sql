CREATE TABLE IF NOT EXISTS fairlead_intents (
  id text NOT NULL,
  name_key text NULL,
  method text NOT NULL,
  epoch text NOT NULL,
  created_ms integer NOT NULL,
  pre_state text NOT NULL,
  pre_created integer NULL,
  pre_modified integer NULL,
  PRIMARY KEY (id)
);
CREATE INDEX IF NOT EXISTS fairlead_intents_name ON fairlead_intents (name_key);
CREATE INDEX IF NOT EXISTS fairlead_intents_epoch ON fairlead_intents (epoch);
