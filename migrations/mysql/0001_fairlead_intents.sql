CREATE TABLE IF NOT EXISTS fairlead_intents (
  id varchar(26) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  name_key varchar(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci NULL,
  method varchar(16) NOT NULL,
  epoch varchar(26) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  created_ms bigint NOT NULL,
  pre_state varchar(8) NOT NULL,
  pre_created bigint NULL,
  pre_modified bigint NULL,
  PRIMARY KEY (id),
  KEY fairlead_intents_name (name_key),
  KEY fairlead_intents_epoch (epoch)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci
