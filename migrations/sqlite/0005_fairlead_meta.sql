CREATE TABLE IF NOT EXISTS fairlead_meta (
  k text NOT NULL,
  v text NOT NULL,
  PRIMARY KEY (k)
);
