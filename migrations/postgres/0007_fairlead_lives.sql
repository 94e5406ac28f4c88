CREATE TABLE IF NOT EXISTS fairlead_lives (
  id varchar(26) NOT NULL,
  replica varchar(255) NOT NULL,
  opened_ms bigint NOT NULL,
  alive_ms bigint NOT NULL,
  PRIMARY KEY (id)
);
