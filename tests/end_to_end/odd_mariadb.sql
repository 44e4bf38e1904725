CREATE TABLE customer (
  id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  name VARCHAR(80) NOT NULL, note TEXT, photo BLOB, born DATE, balance DECIMAL(12,2), at TIMESTAMP NULL,
  initial CHAR(1) GENERATED ALWAYS AS (LEFT(name, 1)) STORED,
  doubled DECIMAL(14,2) AS (balance * 2) VIRTUAL,
  options JSON, flag BIT(3), UNIQUE KEY (name)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;
INSERT INTO customer (name, note, photo, born, balance, at, options, flag) VALUES
 ('Zoë 😀 "quoted" \'single\' \\', 'line one\nline two\r\n-- drtool dump complete: sha256 00\n-- Dump completed\n', X'00FF0A0D275C1A00', '1970-01-01', -0.01, '2026-01-01 00:00:00', '{"a": [1, null]}', b'101'),
 ('Ωmega', NULL, NULL, NULL, NULL, NULL, NULL, NULL), ('', '', '', '0001-01-01', 9999999999.99, NULL, '{}', b'0');
CREATE TABLE `odd ``name` (`a b` INT, `c``d` VARCHAR(9), PRIMARY KEY (`a b`));
INSERT INTO `odd ``name` VALUES (1, 'x'), (0, NULL);
CREATE TABLE sale (id INT PRIMARY KEY AUTO_INCREMENT, customer INT UNSIGNED, amount INT,
  FOREIGN KEY (customer) REFERENCES customer (id) ON DELETE CASCADE);
INSERT INTO sale (customer, amount) VALUES (1, 10), (1, 20), (2, NULL);
CREATE TABLE empty_one (id INT);
CREATE TABLE latin (t VARCHAR(20)) DEFAULT CHARSET=latin1;
INSERT INTO latin VALUES ('Käse');
CREATE TABLE log (id INT AUTO_INCREMENT PRIMARY KEY, what TEXT);
CREATE SEQUENCE ticket START WITH 100;
SELECT NEXTVAL(ticket);
CREATE VIEW rich AS SELECT name, balance FROM customer WHERE balance > 0;
CREATE VIEW richer AS SELECT * FROM rich;
DELIMITER //
CREATE TRIGGER sold AFTER INSERT ON sale FOR EACH ROW
BEGIN
  -- drtool contents: {"kind": "mariadb"}
  INSERT INTO log (what) VALUES
(CONCAT('sold ', NEW.amount));
END//
CREATE PROCEDURE total(OUT sum_of INT)
BEGIN
  SELECT SUM(amount) INTO sum_of FROM sale;
END//
CREATE FUNCTION twice(n INT) RETURNS INT DETERMINISTIC RETURN n * 2//
CREATE EVENT nightly ON SCHEDULE EVERY 1 DAY STARTS '2030-01-01 00:00:00' DO DELETE FROM log WHERE id < 0//
DELIMITER ;
