CREATE TABLE IF NOT EXISTS fairlead_hand (
  name_key varchar(255) NOT NULL,
  wanted varchar(16) NOT NULL,
  at_ms bigint NOT NULL,
  PRIMARY KEY (name_key)
);
