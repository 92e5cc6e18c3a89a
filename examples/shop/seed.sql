-- Loaded by the database at its first start, before it turns healthy.
CREATE TABLE IF NOT EXISTS items (
  id BIGINT AUTO_INCREMENT PRIMARY KEY,
  name VARCHAR(200) NOT NULL UNIQUE,
  cents BIGINT NOT NULL
);
INSERT INTO items (name, cents) VALUES ('apple', 50);
