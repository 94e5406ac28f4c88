CREATE TABLE IF NOT EXISTS fairlead_meta (
  k varchar(64) NOT NULL,
  v varchar(255) NOT NULL,
  PRIMARY KEY (k)
);
