CREATE TABLE IF NOT EXISTS fairlead_lives (
  id text NOT NULL,
  replica text NOT NULL,
  opened_ms integer NOT NULL,
  alive_ms integer NOT NULL,
  PRIMARY KEY (id)
);
