CREATE TABLE IF NOT EXISTS fairlead_intents (
  id varchar(26) NOT NULL,
  name_key varchar(255) NULL,
  method varchar(16) NOT NULL,
  epoch varchar(26) NOT NULL,
  created_ms bigint NOT NULL,
  pre_state varchar(8) NOT NULL,
  pre_created bigint NULL,
  pre_modified bigint NULL,
  PRIMARY KEY (id)
);
CREATE INDEX IF NOT EXISTS fairlead_intents_name ON fairlead_intents (name_key);
CREATE INDEX IF NOT EXISTS fairlead_intents_epoch ON fairlead_intents (epoch);
