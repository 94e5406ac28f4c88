CREATE TABLE IF NOT EXISTS fairlead_epochs (
  id text NOT NULL,
  replica text NOT NULL,
  opened_ms integer NOT NULL,
  ok_until_ms integer NOT NULL,
  alive_ms integer NOT NULL,
  beat integer NOT NULL DEFAULT 0,
  state text NOT NULL,
  gap_from_ms integer NULL,
  gap_until_ms integer NULL,
  passes integer NOT NULL DEFAULT 0,
  PRIMARY KEY (id)
);
