CREATE TABLE IF NOT EXISTS fairlead_tombstones (
  name_key varchar(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci NOT NULL,
  generation bigint NOT NULL,
  created_ms bigint NOT NULL,
  PRIMARY KEY (name_key, generation)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci
