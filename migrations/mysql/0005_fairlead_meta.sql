CREATE TABLE IF NOT EXISTS fairlead_meta (
  k varchar(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  v varchar(255) NOT NULL,
  PRIMARY KEY (k)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci
