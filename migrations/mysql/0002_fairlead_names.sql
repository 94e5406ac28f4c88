CREATE TABLE IF NOT EXISTS fairlead_names (
  name_key varchar(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci NOT NULL,
  gen bigint NOT NULL,
  claimed_inc bigint NULL,
  seen_inc bigint NULL,
  seen_ms bigint NULL,
  touched_ms bigint NOT NULL,
  PRIMARY KEY (name_key)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci
