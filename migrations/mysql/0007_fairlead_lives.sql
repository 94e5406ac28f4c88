CREATE TABLE IF NOT EXISTS fairlead_lives (
  id varchar(26) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  replica varchar(255) NOT NULL,
  opened_ms bigint NOT NULL,
  alive_ms bigint NOT NULL,
  PRIMARY KEY (id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci
