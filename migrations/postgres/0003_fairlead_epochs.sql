CREATE TABLE IF NOT EXISTS fairlead_epochs (
  id varchar(26) NOT NULL,
  replica varchar(255) NOT NULL,
  opened_ms bigint NOT NULL,
  ok_until_ms bigint NOT NULL,
  alive_ms bigint NOT NULL,
  beat bigint NOT NULL DEFAULT 0,
  state varchar(16) NOT NULL,
  gap_from_ms bigint NULL,
  gap_until_ms bigint NULL,
  passes bigint NOT NULL DEFAULT 0,
  PRIMARY KEY (id)
);
