CREATE TABLE IF NOT EXISTS fairlead_hand (
  name_key varchar(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci NOT NULL,
  wanted varchar(16) NOT NULL,
  at_ms bigint NOT NULL,
  PRIMARY KEY (name_key)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci
